#include "model/tokenizer/token_index.h"

#include "absl/status/status.h"
#include "model/checkpoint/quoted.h"
#include "model/tokenizer/absl_view.h"
#include "model/tokenizer/byte_alphabet.h"

namespace sieve {

TokenIndex::TokenIndex(const Vocabulary& vocabulary) {
  ids_.reserve(vocabulary.tokens.size());
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const Vocabulary::Token& token = vocabulary.tokens[id];
    if (token.kind == Vocabulary::Kind::kNormal || token.kind == Vocabulary::Kind::kUserDefined) {
      ids_.try_emplace(AlphabetFromBytes(token.bytes), id);
    }
  }
}

absl::StatusOr<std::pair<int32_t, int32_t>> TokenIndex::FindPair(std::string_view left,
                                                                 std::string_view right) const {
  const auto left_id = ids_.find(AbslView(left));
  const auto right_id = ids_.find(AbslView(right));
  if (left_id == ids_.end() || right_id == ids_.end()) {
    return absl::InvalidArgumentError(Quoted(left_id == ids_.end() ? left : right) +
                                      " is no ordinary token");
  }
  return std::make_pair(left_id->second, right_id->second);
}

absl::StatusOr<std::pair<int32_t, int32_t>> TokenIndex::FindMerge(std::string_view merge) const {
  const size_t space = merge.find(' ');
  if (space == merge.npos || merge.find(' ', space + 1) != merge.npos) {
    return absl::InvalidArgumentError(Quoted(merge) + " is not two tokens with a space between");
  }
  return FindPair(merge.substr(0, space), merge.substr(space + 1));
}

}  // namespace sieve
