#ifndef SIEVE_MODEL_CHECKPOINT_RANDOM_WEIGHTS_H_
#define SIEVE_MODEL_CHECKPOINT_RANDOM_WEIGHTS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "model/checkpoint/anonymous_memory.h"
#include "model/checkpoint/hf_config.h"
#include "model/weights.h"

namespace sieve {

struct RandomWeightsOptions {
  uint64_t seed = 0;
  double deviation = 0.02;  // of matrices and biases, whose mean is 0
  int num_threads = 0;      // that fill the memory; 0: one a core
};

struct RandomWeights {
  AnonymousMemory memory;
  LlamaWeights weights;  // views into it
};

// The tensors that a Hugging Face folder of this shape holds, biases where the config has them, in
// bf16: norms are 1, other values normally distributed. A value depends on seed, the tensor's name
// and its place in the tensor alone. RESOURCE_EXHAUSTED when memory does not suffice. REQUIRES: a
// valid config, deviation > 0.
absl::StatusOr<RandomWeights> MakeRandomWeights(const HfConfig& config,
                                                const RandomWeightsOptions& options);

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_RANDOM_WEIGHTS_H_
