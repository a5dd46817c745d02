#ifndef SIEVE_MODEL_TOKENIZER_TOKEN_INDEX_H_
#define SIEVE_MODEL_TOKENIZER_TOKEN_INDEX_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "model/tokenizer/vocabulary.h"

namespace sieve {

// Ids of a vocabulary's ordinary (normal and user-defined) tokens by their spelling in the
// byte-level alphabet, which is how files name them in merges.
class TokenIndex {
 public:
  explicit TokenIndex(const Vocabulary& vocabulary);

  // INVALID_ARGUMENT with the reason when either is no ordinary token.
  absl::StatusOr<std::pair<int32_t, int32_t>> FindPair(std::string_view left,
                                                       std::string_view right) const;
  // The same of "left right".
  absl::StatusOr<std::pair<int32_t, int32_t>> FindMerge(std::string_view merge) const;

 private:
  absl::flat_hash_map<std::string, int32_t> ids_;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_TOKENIZER_TOKEN_INDEX_H_
