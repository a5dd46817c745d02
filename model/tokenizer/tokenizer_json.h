#ifndef SIEVE_MODEL_TOKENIZER_TOKENIZER_JSON_H_
#define SIEVE_MODEL_TOKENIZER_TOKENIZER_JSON_H_

#include <string>

#include "absl/status/statusor.h"
#include "model/tokenizer/vocabulary.h"

namespace sieve {

// Reads a Hugging Face tokenizer.json and the files beside it (see tokenizer_folder.h). NOT_FOUND
// when there is no such file; INVALID_ARGUMENT, with file, key and reason, for what is malformed or
// contradictory, and for whatever would make tokens in a way unknown here (other models than
// byte-level BPE, normalizers, stripping added tokens).
absl::StatusOr<Vocabulary> ReadTokenizerJson(const std::string& path);

}  // namespace sieve

#endif  // SIEVE_MODEL_TOKENIZER_TOKENIZER_JSON_H_
