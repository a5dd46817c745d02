#ifndef SIEVE_KERNELS_BLOCK_SCORES_H_
#define SIEVE_KERNELS_BLOCK_SCORES_H_

#include <cstdint>

#include "kernels/block_scores_params.h"

namespace sieve {

int64_t BlockLogitsScratchFloats(const SummaryLayout& layout);

// Writes the logits of blocks. Single-threaded; each (token, head, block) is computed in one order
// whatever else is in the call. `scratch` is 32-byte aligned.
void BlockLogits(const BlockScoreParams& params, float* scratch);

// The specification, in double.
void BlockLogitsReference(const BlockScoreParams& params);

// scores[b] += sum over the rows of softmax(logits[row])[b], b in [0, count). Rows are `stride`
// floats apart and are overwritten.
void AddProbabilities(float* logits, int64_t rows, int64_t stride, int64_t count, float* scores);

// The specification, in double.
void AddProbabilitiesReference(const float* logits, int64_t rows, int64_t stride, int64_t count,
                               float* scores);

// Writes the indices of the `selected` largest scores, ascending, the lower index first among
// equals; NaN is the smallest. `order` is room for `count` indices, of which the first `selected`
// are the result. REQUIRES: selected <= count.
void SelectLargest(const float* scores, int64_t count, int64_t selected, int32_t* order);

}  // namespace sieve

#endif  // SIEVE_KERNELS_BLOCK_SCORES_H_
