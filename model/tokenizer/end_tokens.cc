#include "model/tokenizer/end_tokens.h"

#include <algorithm>
#include <string_view>

namespace sieve {
namespace {

constexpr std::string_view kNames[] = {"<|endoftext|>", "<|im_end|>", "<|end_of_text|>",
                                       "<|eot_id|>", "<|eom_id|>"};

}  // namespace

void AddEndToken(int32_t id, Vocabulary* vocabulary) {
  std::vector<int32_t>& eos = vocabulary->eos;
  if (std::find(eos.begin(), eos.end(), id) == eos.end()) eos.push_back(id);
}

void AddWellKnownEndTokens(Vocabulary* vocabulary) {
  for (size_t id = 0; id < vocabulary->tokens.size(); ++id) {
    const Vocabulary::Token& token = vocabulary->tokens[id];
    if (token.kind != Vocabulary::Kind::kSpecial) continue;
    if (std::find(std::begin(kNames), std::end(kNames), token.bytes) != std::end(kNames)) {
      AddEndToken(id, vocabulary);
    }
  }
}

}  // namespace sieve
