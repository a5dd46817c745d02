#include "model/checkpoint/hf_vocabulary.h"

#include <filesystem>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/tokenizer/tiktoken_model.h"
#include "model/tokenizer/tokenizer_folder.h"
#include "model/tokenizer/tokenizer_json.h"

namespace sieve {

absl::StatusOr<Vocabulary> ReadHfVocabulary(const std::string& dir) {
  std::error_code ignored;
  const std::string json = dir + "/tokenizer.json";
  if (std::filesystem::exists(json, ignored)) return ReadTokenizerJson(json);
  for (const char* name : {"/tokenizer.model", "/original/tokenizer.model"}) {
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

}  // namespace sieve
