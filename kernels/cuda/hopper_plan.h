#ifndef SIEVE_KERNELS_CUDA_HOPPER_PLAN_H_
#define SIEVE_KERNELS_CUDA_HOPPER_PLAN_H_

#include <cstdint>

namespace sieve::cuda {

// How a product is cut for Hopper's multiprocessors. The bits of the result do not depend on it.
struct HopperPlan {
  int bands = 0;   // of 64 outputs in a tile: 1 or 2
  int tokens = 0;  // of a tile: 16, 32, 64 or 128
  // The two chains of a sum are computed side by side, by two blocks. Only where there are two.
  bool splits_chains = false;
};

// The cheapest plan by a simple model of the chip. All arguments are positive.
HopperPlan PlanHopperMatMul(int64_t num_tokens, int64_t outputs, int64_t inputs,
                            int64_t multiprocessors, bool may_split_chains);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_HOPPER_PLAN_H_
