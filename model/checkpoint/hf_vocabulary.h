#ifndef SIEVE_MODEL_CHECKPOINT_HF_VOCABULARY_H_
#define SIEVE_MODEL_CHECKPOINT_HF_VOCABULARY_H_

#include <string>

#include "absl/status/statusor.h"
#include "model/tokenizer/vocabulary.h"

namespace sieve {

// The vocabulary of a Hugging Face folder: tokenizer.json, or else Llama 3's tokenizer.model (in
// the folder or in original/). INVALID_ARGUMENT with file and reason.
absl::StatusOr<Vocabulary> ReadHfVocabulary(const std::string& dir);

// Whether the folder has a file that ReadHfVocabulary would read.
bool HasHfVocabulary(const std::string& dir);

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_HF_VOCABULARY_H_
