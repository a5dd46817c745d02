#ifndef SIEVE_MODEL_TOKENIZER_BYTE_VOCABULARY_H_
#define SIEVE_MODEL_TOKENIZER_BYTE_VOCABULARY_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer/vocabulary.h"

namespace sieve {

// A stand-in for a tokenizer that is not there: any text becomes one token a byte, and every token
// has text. bos (put first) and eos are special tokens; of the other ids the first 256 are the
// bytes in their order, the rest are filler that no text becomes: a space and the id. Nothing in it
// names a chat format.
//
// INVALID_ARGUMENT when the bytes do not fit. REQUIRES: bos and eos in [0, size).
absl::StatusOr<Vocabulary> MakeByteVocabulary(int64_t size, std::optional<int32_t> bos,
                                              std::vector<int32_t> eos);

}  // namespace sieve

#endif  // SIEVE_MODEL_TOKENIZER_BYTE_VOCABULARY_H_
