#ifndef SIEVE_MODEL_BATCH_CHECK_H_
#define SIEVE_MODEL_BATCH_CHECK_H_

#include <cstdint>

#include "absl/status/status.h"
#include "model/language_model.h"

namespace sieve {

// INTERNAL, saying what is wrong, unless every token, position, page and row of the batch is in
// range and the shapes fit: a model must not read or write beyond its memory whatever the scheduler
// does. Tokens may be pending draws 0 .. pending-1 of the step before, adapters -1 .. slots-1.
absl::Status CheckBatch(const Batch& batch, int64_t logits_size, int64_t vocabulary_size,
                        int64_t num_pages, int64_t pending = 0, int64_t slots = 0);

// INTERNAL unless sequence s of a batch that CheckBatch accepts holds each whole tile of its
// prompt, `query_tile` tokens, whole or not at all.
absl::Status CheckTiles(const Batch& batch, int64_t s, int64_t query_tile);

}  // namespace sieve

#endif  // SIEVE_MODEL_BATCH_CHECK_H_
