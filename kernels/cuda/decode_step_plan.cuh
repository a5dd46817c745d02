#ifndef SIEVE_KERNELS_CUDA_DECODE_STEP_PLAN_CUH_
#define SIEVE_KERNELS_CUDA_DECODE_STEP_PLAN_CUH_

// Which block of a decoding step does what, in the order in which the parts of its work stream
// through the ring: producer and consumers follow the same plan.

#include <cstdint>

#include "kernels/cuda/attention_params.h"
#include "kernels/cuda/decode_step_params.h"
#include "kernels/cuda/matmul_params.h"
#include "kernels/cuda/weight_tiles.h"

namespace sieve::cuda {

inline constexpr int kStepHeadDim = 64;
inline constexpr int kGroupWarps = 4;  // of a warpgroup
inline constexpr int kConsumerWarps = 2 * kGroupWarps;
inline constexpr int kConsumers = 32 * kConsumerWarps;
inline constexpr int kSlotDepth = 512;  // of k: 16 outputs fill a slot
inline constexpr int kSlotTiles = kSlotDepth / kWeightTileDepth;
inline constexpr int kPagesPerSplit = kSplitTokens / kPageTokens;
static_assert(kPagesPerSplit == kGroupWarps);

// A layer's products, the last one, and attention, which comes before the output's projection.
enum Phase { kQkv, kOutput, kGateUp, kDown, kHead, kAttend, kPhases };

// A phase's items are dealt to the blocks of the grid like cards. What needs divisions is computed
// once a step.
struct PhasePlan {
  int quotient = 0, remainder = 0;  // of the items by the blocks
  // Of a product, whose items are 16 outputs:
  int chains = 0;         // of a sum: 1, or 2, which two warpgroups compute
  int depth = 0;          // of a chain
  int steps = 0;          // slots of a chain
  int items_a_round = 0;  // side by side: no more chains than slots (StreamRing::Await)
  int tiles_an_item = 0;
};

// What all warps of a block know of the step; in shared memory.
struct StepPlan {
  PhasePlan phases[kPhases];
  int positions[kMaxDecodeStepTokens];
  int32_t newest_pages[kMaxDecodeStepTokens];  // that hold the tokens' own keys and values
  int unit_begins[kMaxDecodeStepTokens + 1];   // the first unit of attention of each sequence
  int splits = 0;                              // of all sequences together
};

__device__ __forceinline__ int SplitsOf(int position) { return position / kSplitTokens + 1; }

[[maybe_unused]] __device__ __forceinline__ PhasePlan PlanItems(int items) {
  const int blocks = static_cast<int>(gridDim.x);
  PhasePlan plan;
  plan.quotient = items / blocks;
  plan.remainder = items % blocks;
  return plan;
}

[[maybe_unused]] __device__ __forceinline__ PhasePlan PlanProduct(int outputs, int inputs,
                                                                  int ring_slots) {
  PhasePlan plan = PlanItems((outputs + kWeightTileRows - 1) / kWeightTileRows);
  plan.chains = inputs > kChainLength ? 2 : 1;
  plan.depth = inputs / plan.chains;
  plan.steps = (plan.depth + kSlotDepth - 1) / kSlotDepth;
  plan.items_a_round = min(kConsumerWarps, ring_slots) / plan.chains;
  plan.tiles_an_item = static_cast<int>(WeightTilesAcross(inputs));
  return plan;
}

// Items first, first + gridDim.x, ... of a phase.
struct Deal {
  int first = 0;
  int count = 0;

  __device__ __forceinline__ int item(int i) const {
    return first + i * static_cast<int>(gridDim.x);
  }
};

// Deals the items of phase after phase, each phase beginning where the last one stopped, so that
// all blocks get nearly the same.
class Dealer {
 public:
  __device__ __forceinline__ Deal Take(const PhasePlan& plan) {
    const int blocks = static_cast<int>(gridDim.x);
    Deal deal;
    deal.first = static_cast<int>(blockIdx.x) - next_;
    if (deal.first < 0) deal.first += blocks;
    deal.count = plan.quotient + (deal.first < plan.remainder ? 1 : 0);
    next_ += plan.remainder;
    if (next_ >= blocks) next_ -= blocks;
    return deal;
  }

 private:
  int next_ = 0;
};

// Attention's items: a split of a sequence and a key/value head.
struct AttentionUnit {
  int token = 0;
  int kv_head = 0;
  int split = 0;
  int pages = 0;
};

__device__ __forceinline__ AttentionUnit UnitOf(const StepPlan& plan, int num_kv_heads, int index) {
  AttentionUnit unit;
  while (index >= plan.unit_begins[unit.token + 1]) ++unit.token;
  index -= plan.unit_begins[unit.token];
  unit.kv_head = index % num_kv_heads;
  unit.split = index / num_kv_heads;
  unit.pages = min(kPagesPerSplit,
                   plan.positions[unit.token] / kPageTokens + 1 - unit.split * kPagesPerSplit);
  return unit;
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_DECODE_STEP_PLAN_CUH_
