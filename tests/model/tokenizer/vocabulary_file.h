#ifndef SIEVE_TESTS_MODEL_TOKENIZER_VOCABULARY_FILE_H_
#define SIEVE_TESTS_MODEL_TOKENIZER_VOCABULARY_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "model/tokenizer/vocabulary.h"

namespace sieve {

// The vocabulary of a .gguf, a tokenizer.json or (any other name) a Llama 3 tokenizer.model.
absl::StatusOr<Vocabulary> ReadVocabularyFile(const std::string& path);

}  // namespace sieve

#endif  // SIEVE_TESTS_MODEL_TOKENIZER_VOCABULARY_FILE_H_
