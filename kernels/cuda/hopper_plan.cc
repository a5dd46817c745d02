#include "kernels/cuda/hopper_plan.h"

#include <algorithm>
#include <limits>

#include "kernels/cuda/matmul_params.h"
#include "kernels/cuda/weight_tiles.h"

namespace sieve::cuda {
namespace {

int64_t Ceil(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Cycles for a stage of 64 of k: of the tensor cores, of the way from the L2 cache, which a
// multiprocessor does not have to itself when most are busy, or of four products that wait for each
// other. As measured on an H200.
int64_t StageCycles(const HopperPlan& plan, int64_t busy_share_percent) {
  constexpr int64_t kBytesACycle = 45, kBytesACycleOfAll = 36, kChainOfFour = 200;
  const int64_t outputs = 64 * plan.bands;
  // Weights come from device memory first, activations stay in the cache.
  const int64_t bytes = (outputs * 5 / 4 + plan.tokens) * kWeightTileDepth * 2;
  const int64_t bytes_a_cycle =
      std::min(kBytesACycle, kBytesACycleOfAll * 100 / std::max<int64_t>(busy_share_percent, 1));
  return std::max(
      {outputs * plan.tokens * kWeightTileDepth / 2048, bytes / bytes_a_cycle, kChainOfFour});
}

// Of a block's last tile, whose sums are stored when there are no more products: as much as made
// the measured order of tiles come out for 8 to 256 tokens. With more, there are other tiles to
// hide it.
int64_t LastStoreCycles(const HopperPlan& plan, int64_t num_tokens) {
  constexpr int64_t kCyclesAToken = 122;  // and band
  return num_tokens <= 256 ? plan.bands * plan.tokens * kCyclesAToken : 0;
}

int64_t Blocks(const HopperPlan& plan, int64_t num_tokens, int64_t outputs) {
  return Ceil(outputs, 64 * plan.bands) * Ceil(num_tokens, plan.tokens) *
         (plan.splits_chains ? 2 : 1);
}

int64_t Cycles(const HopperPlan& plan, int64_t num_tokens, int64_t outputs, int64_t inputs,
               int64_t multiprocessors) {
  const int64_t blocks = Blocks(plan, num_tokens, outputs);
  const int64_t depth = plan.splits_chains ? kChainLength : inputs;
  const int64_t busy = std::min(blocks, multiprocessors) * 100 / multiprocessors;
  return Ceil(blocks, multiprocessors) * Ceil(depth, kWeightTileDepth) * StageCycles(plan, busy) +
         LastStoreCycles(plan, num_tokens);
}

}  // namespace

HopperPlan PlanHopperMatMul(int64_t num_tokens, int64_t outputs, int64_t inputs,
                            int64_t multiprocessors, bool may_split_chains) {
  HopperPlan best;
  int64_t least = std::numeric_limits<int64_t>::max();
  const bool has_two_chains = inputs > kChainLength && inputs <= 2 * kChainLength;
  // Of equals the largest tile, which reads least.
  for (const int bands : {2, 1}) {
    for (const int tokens : {128, 64, 32, 16}) {
      for (const bool splits : {false, true}) {
        const HopperPlan plan = {bands, tokens, splits};
        if (splits && !(may_split_chains && has_two_chains)) continue;
        // Else a tile's second chain waits for the first one, and no other tile hides it.
        if (splits && Blocks(plan, num_tokens, outputs) > multiprocessors) continue;
        const int64_t cycles = Cycles(plan, num_tokens, outputs, inputs, multiprocessors);
        if (cycles >= least) continue;
        least = cycles;
        best = plan;
      }
    }
  }
  return best;
}

}  // namespace sieve::cuda
