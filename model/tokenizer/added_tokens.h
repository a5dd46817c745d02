#ifndef SIEVE_MODEL_TOKENIZER_ADDED_TOKENS_H_
#define SIEVE_MODEL_TOKENIZER_ADDED_TOKENS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "model/tokenizer/vocabulary.h"

namespace sieve {

// Finds tokens that are matched in the text itself, before it is cut into words. Immutable.
class AddedTokens {
 public:
  struct Match {
    size_t begin = 0;
    size_t length = 0;
    int32_t id = 0;
  };

  // The user-defined tokens of `vocabulary`, and its special ones if asked. REQUIRES: it outlives
  // this.
  AddedTokens(const Vocabulary& vocabulary, bool include_special);

  // The leftmost match at or after `from`, the longest of those that begin there.
  std::optional<Match> Find(std::string_view text, size_t from) const;

 private:
  // The longest token that `text` starts with; length 0 when there is none.
  Match LongestPrefix(std::string_view text) const;

  std::vector<std::pair<std::string_view, int32_t>> tokens_;  // sorted
  std::array<bool, 256> starts_token_{};                      // by byte
};

}  // namespace sieve

#endif  // SIEVE_MODEL_TOKENIZER_ADDED_TOKENS_H_
