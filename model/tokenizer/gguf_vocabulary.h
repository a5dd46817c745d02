#ifndef SIEVE_MODEL_TOKENIZER_GGUF_VOCABULARY_H_
#define SIEVE_MODEL_TOKENIZER_GGUF_VOCABULARY_H_

#include <functional>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "model/checkpoint/gguf.h"
#include "model/tokenizer/vocabulary.h"

namespace sieve {

// The vocabulary in a GGUF file's metadata (`tokenizer.ggml.*`, `tokenizer.chat_template`).
// INVALID_ARGUMENT, naming the key, for what is missing, malformed or contradictory, and for
// tokenizers other than byte-level BPE with a known pre-tokenizer.
absl::StatusOr<Vocabulary> VocabularyFromGguf(
    const std::map<std::string, GgufValue, std::less<>>& metadata);

}  // namespace sieve

#endif  // SIEVE_MODEL_TOKENIZER_GGUF_VOCABULARY_H_
