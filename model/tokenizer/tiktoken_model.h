#ifndef SIEVE_MODEL_TOKENIZER_TIKTOKEN_MODEL_H_
#define SIEVE_MODEL_TOKENIZER_TIKTOKEN_MODEL_H_

#include <string>

#include "absl/status/statusor.h"
#include "model/tokenizer/vocabulary.h"

namespace sieve {

// Reads Llama 3's `tokenizer.model`: 128000 lines of a token in base64, a space and its rank. The
// file does not hold the 256 special tokens that follow; they get the names of Llama 3.1 and 3.2.
// NOT_FOUND when there is no such file; INVALID_ARGUMENT, with file, line and reason, for anything
// else than that.
absl::StatusOr<Vocabulary> ReadTiktokenModel(const std::string& path);

}  // namespace sieve

#endif  // SIEVE_MODEL_TOKENIZER_TIKTOKEN_MODEL_H_
