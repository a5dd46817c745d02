#include "model/sampling/exp_weights_avx2.h"

#include "model/sampling/exp_weights_loop.h"

namespace sieve {

uint64_t ExpWeightsAvx2(const float* logits, int64_t size, float max, float inverse_temperature,
                        float* weights) {
  return ExpWeightsLoop(logits, size, max, inverse_temperature, weights);
}

}  // namespace sieve
