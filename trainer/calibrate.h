#ifndef SIEVE_TRAINER_CALIBRATE_H_
#define SIEVE_TRAINER_CALIBRATE_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "model/adapter/adapter_config.h"
#include "trainer/layer_tensors.h"
#include "trainer/llama.h"
#include "trainer/torch_ops.h"

namespace sieve {

struct CalibrationOptions {
  // b of the compressed branch: below 0 it begins with less than its share, for an untrained tail
  // is worse than none.
  double tail_bias = -2;
  uint64_t seed = 0;  // of the matrices that no statistics give: gates and MLPs
};

// The adapter before training. From the queries and keys of `sequences` ([1, T] tokens each) come
// the tilt, 1.5 times the mean query, and the index: with C_q, C_k the second moments of q and of
// k minus its block's mean, W_q = C_q^-1/2 U, W_k = C_q^1/2 U, U the leading left singular vectors
// of C_q^1/2 C_k^1/2, which keep the most of q·k. What is added to something begins with zero.
std::vector<LayerTensors> Calibrate(const FrozenLlama& llama, const AdapterConfig& config,
                                    const std::vector<at::Tensor>& sequences,
                                    const CalibrationOptions& options);

}  // namespace sieve

#endif  // SIEVE_TRAINER_CALIBRATE_H_
