#ifndef SIEVE_MODEL_SAMPLING_EXP_WEIGHTS_AVX2_H_
#define SIEVE_MODEL_SAMPLING_EXP_WEIGHTS_AVX2_H_

#include <cstdint>

namespace sieve {

// ExpWeights (logit_math.h). REQUIRES: HasAvx2().
uint64_t ExpWeightsAvx2(const float* logits, int64_t size, float max, float inverse_temperature,
                        float* weights);

}  // namespace sieve

#endif  // SIEVE_MODEL_SAMPLING_EXP_WEIGHTS_AVX2_H_
