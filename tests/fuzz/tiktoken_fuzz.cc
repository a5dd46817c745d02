// Llama 3's tokenizer.model. The first byte says what the others are: the file itself, or a change
// to a well-formed one (where, how many bytes go, and what comes instead).

#include "absl/strings/escaping.h"
#include "model/tokenizer/tiktoken_model.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/model_checks.h"
#include "tests/fuzz/scratch.h"

namespace {

using namespace sieve;  // NOLINT: LLVMFuzzerTestOneInput must be outside

constexpr int kRanks = 128000;

// The bytes, then distinct tokens of four bytes.
std::string WellFormedFile() {
  std::string text;
  for (int rank = 0; rank < kRanks; ++rank) {
    std::string token(1, static_cast<char>(rank));
    if (rank >= 256) token += {'x', static_cast<char>(rank >> 8), static_cast<char>(rank >> 16)};
    absl::StrAppend(&text, absl::Base64Escape(token), " ", rank, "\n");
  }
  return text;
}

std::string Changed(InputReader input) {
  static const std::string* const well_formed = new std::string(WellFormedFile());
  std::string text = *well_formed;
  // Near the beginning, so that most changes are found after a few lines.
  const size_t at = input.Number<uint16_t>();
  const size_t length = input.Number<uint8_t>();
  return text.replace(at, length, input.Rest());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  InputReader input(InputText(data, size));
  const bool change = input.Number<uint8_t>() % 32 == 1;  // costs a hundred times as much
  const std::string path = change ? PutScratchFile("tokenizer.model", Changed(input))
                                  : PutScratchFile("tokenizer.model", input.Rest());
  if (!change && size <= 1) return 0;
  const auto vocabulary = ReadTiktokenModel(path);
  if (!vocabulary.ok()) {
    CheckRefusal(vocabulary.status(), absl::StatusCode::kInvalidArgument);
    return 0;
  }
  FUZZ_CHECK(vocabulary->tokens.size() == kRanks + 256);
  FUZZ_CHECK(vocabulary->bos == kRanks);
  for (const Vocabulary::Token& token : vocabulary->tokens) FUZZ_CHECK(!token.bytes.empty());
  return 0;
}
