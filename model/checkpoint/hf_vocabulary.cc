#include "model/checkpoint/hf_vocabulary.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/tokenizer/tiktoken_model.h"
#include "model/tokenizer/tokenizer_folder.h"
#include "model/tokenizer/tokenizer_json.h"

namespace sieve {
namespace {

// Where Llama 3's tokenizer.model may stand.
constexpr const char* kTiktokenModels[] = {"/tokenizer.model", "/original/tokenizer.model"};

}  // namespace

absl::StatusOr<Vocabulary> ReadHfVocabulary(const std::string& dir) {
  std::error_code ignored;
  const std::string json = dir + "/tokenizer.json";
  if (std::filesystem::exists(json, ignored)) return ReadTokenizerJson(json);
  for (const char* name : kTiktokenModels) {
    if (!std::filesystem::exists(dir + name, ignored)) continue;
    absl::StatusOr<Vocabulary> vocabulary = ReadTiktokenModel(dir + name);
    if (!vocabulary.ok()) return vocabulary.status();
    // End tokens and chat template, which that file does not hold.
    const absl::Status status = ReadTokenizerFolder(dir + "/", &*vocabulary);
    if (!status.ok()) return status;
    return vocabulary;
  }
  return absl::InvalidArgumentError(
      absl::StrCat(dir, ": neither tokenizer.json nor tokenizer.model is there"));
}

bool HasHfVocabulary(const std::string& dir) {
  std::error_code ignored;
  if (std::filesystem::exists(dir + "/tokenizer.json", ignored)) return true;
  return std::any_of(std::begin(kTiktokenModels), std::end(kTiktokenModels), [&](const char* name) {
    return std::filesystem::exists(dir + name, ignored);
  });
}

}  // namespace sieve
