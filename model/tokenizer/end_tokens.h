#ifndef SIEVE_MODEL_TOKENIZER_END_TOKENS_H_
#define SIEVE_MODEL_TOKENIZER_END_TOKENS_H_

#include <cstdint>

#include "model/tokenizer/vocabulary.h"

namespace sieve {

// Adds `id` to vocabulary->eos unless it is there.
void AddEndToken(int32_t id, Vocabulary* vocabulary);

// Adds the special tokens that end a turn or a text in every known model that has them, by their
// names. Files that name a single end token often leave out the other: <|end_of_text|> beside
// <|eot_id|>.
void AddWellKnownEndTokens(Vocabulary* vocabulary);

}  // namespace sieve

#endif  // SIEVE_MODEL_TOKENIZER_END_TOKENS_H_
