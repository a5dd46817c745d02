#ifndef SIEVE_KERNELS_BLOCK_SCORES_AVX2_H_
#define SIEVE_KERNELS_BLOCK_SCORES_AVX2_H_

#include "kernels/block_scores_params.h"

namespace sieve {

// BlockLogits with AVX2. REQUIRES: HasAvx2(), head_dim is a multiple of 8.
void BlockLogitsAvx2(const BlockScoreParams& params, float* scratch);

// AddProbabilities with AVX2. REQUIRES: HasAvx2().
void AddProbabilitiesAvx2(float* logits, int64_t rows, int64_t stride, int64_t count,
                          float* scores);

}  // namespace sieve

#endif  // SIEVE_KERNELS_BLOCK_SCORES_AVX2_H_
