#ifndef SIEVE_MODEL_SAMPLING_EXP_WEIGHTS_LOOP_H_
#define SIEVE_MODEL_SAMPLING_EXP_WEIGHTS_LOOP_H_

#include <cstdint>

#include "kernels/sampling_math.h"

namespace sieve {

// ExpWeights (logit_math.h), for whatever processor the including file is compiled for. Static, for
// those are different functions. Without FMA instructions it is slow, and gives the same bits.
static inline uint64_t ExpWeightsLoop(const float* logits, int64_t size, float max,
                                      float inverse_temperature, float* weights) {
  for (int64_t i = 0; i < size; ++i) weights[i] = WeightOf(logits[i], max, inverse_temperature);
  uint64_t sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += UnitsOf(weights[i]);
  return sum;
}

}  // namespace sieve

#endif  // SIEVE_MODEL_SAMPLING_EXP_WEIGHTS_LOOP_H_
