#ifndef SIEVE_MODEL_SAMPLING_SAMPLING_PARAMS_H_
#define SIEVE_MODEL_SAMPLING_SAMPLING_PARAMS_H_

#include <cstdint>
#include <utility>
#include <vector>

namespace sieve {

// How the next token is drawn; the fields and their ranges are those of sieve.v1.SamplingParams.
struct SamplingParams {
  float temperature = 1;  // 0: greedy
  int32_t top_k = 0;      // 0: off
  float top_p = 1;        // 1: off
  float min_p = 0;        // 0: off
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  std::vector<std::pair<int32_t, float>> logit_bias;
  uint64_t seed = 0;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_SAMPLING_SAMPLING_PARAMS_H_
