#ifndef SIEVE_MODEL_CHECKPOINT_PAD_VOCABULARY_H_
#define SIEVE_MODEL_CHECKPOINT_PAD_VOCABULARY_H_

#include "absl/status/status.h"
#include "model/config.h"
#include "model/tokenizer/vocabulary.h"

namespace sieve {

// Gives the vocabulary as many tokens as the embedding has rows. Embeddings are often padded to a
// round number of rows, whose ids then stand for nothing. INVALID_ARGUMENT when there are more
// tokens than rows.
absl::Status PadVocabulary(const ModelConfig& config, Vocabulary& vocabulary);

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_PAD_VOCABULARY_H_
