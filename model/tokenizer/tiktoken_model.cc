#include "model/tokenizer/tiktoken_model.h"

#include <algorithm>
#include <bitset>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/mapped_file.h"
#include "model/tokenizer/absl_view.h"
#include "model/tokenizer/end_tokens.h"

namespace sieve {
namespace {

constexpr int kNumRanks = 128000;
constexpr int kNumSpecial = 256;

absl::Status ReadLine(std::string_view line, Vocabulary* vocabulary) {
  const size_t space = line.find(' ');
  if (space == line.npos) return absl::InvalidArgumentError("not a token, a space and a rank");
  std::string bytes;
  if (!absl::Base64Unescape(AbslView(line.substr(0, space)), &bytes) || bytes.empty()) {
    return absl::InvalidArgumentError("the token is not base64");
  }
  int32_t rank = -1;
  if (!absl::SimpleAtoi(AbslView(line.substr(space + 1)), &rank) || rank < 0 || rank >= kNumRanks) {
    return absl::InvalidArgumentError(absl::StrCat("the rank is not 0 to ", kNumRanks - 1));
  }
  Vocabulary::Token& token = vocabulary->tokens[rank];
  if (!token.bytes.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("rank ", rank, " appears twice"));
  }
  token = {std::move(bytes), Vocabulary::Kind::kNormal};
  return absl::OkStatus();
}

absl::Status ReadRanks(std::string_view text, Vocabulary* vocabulary) {
  vocabulary->tokens.resize(kNumRanks);
  int lines = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const absl::Status status = ReadLine(text.substr(0, end), vocabulary);
    ++lines;
    if (!status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("line ", lines, ": ", status.message()));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  if (lines != kNumRanks) {
    return absl::InvalidArgumentError(
        absl::StrCat(lines, " tokens; Llama 3's tokenizer.model has ", kNumRanks));
  }
  return absl::OkStatus();
}

absl::Status CheckBytes(const Vocabulary& vocabulary) {
  std::bitset<256> present;
  for (const Vocabulary::Token& token : vocabulary.tokens) {
    if (token.bytes.size() == 1) present.set(static_cast<uint8_t>(token.bytes[0]));
  }
  if (present.all()) return absl::OkStatus();
  int missing = 0;
  while (present.test(missing)) ++missing;
  return absl::InvalidArgumentError(absl::StrCat("no token for byte ", missing));
}

void AddSpecialTokens(Vocabulary* vocabulary) {
  const auto add = [&](std::string name) {
    vocabulary->tokens.push_back({std::move(name), Vocabulary::Kind::kSpecial});
  };
  vocabulary->bos = vocabulary->tokens.size();
  vocabulary->add_bos = true;
  for (const char* name :
       {"<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>",
        "<|reserved_special_token_1|>", "<|finetune_right_pad_id|>", "<|reserved_special_token_2|>",
        "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"}) {
    add(name);
  }
  for (int i = 3; vocabulary->tokens.size() < kNumRanks + kNumSpecial; ++i) {
    add(absl::StrCat("<|reserved_special_token_", i, "|>"));
  }
  AddWellKnownEndTokens(vocabulary);
}

}  // namespace

absl::StatusOr<Vocabulary> ReadTiktokenModel(const std::string& path) {
  const absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  Vocabulary vocabulary;
  vocabulary.merge_by_id = true;
  vocabulary.ignore_merges = true;
  vocabulary.pre_tokenizer = PreTokenizer::kLlama3;
  absl::Status status = ReadRanks(file->bytes(), &vocabulary);
  if (status.ok()) status = CheckBytes(vocabulary);
  if (!status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", status.message()));
  }
  AddSpecialTokens(&vocabulary);
  return vocabulary;
}

}  // namespace sieve
