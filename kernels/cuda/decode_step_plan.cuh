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

inline constexpr int kConsumerWarps = 8;
inline constexpr int kSlotDepth = 512;  // of k: 16 outputs fill a slot
inline constexpr int kPagesPerSplit = kSplitTokens / kPageTokens;

// Items first, first + gridDim.x, ... of a phase.
struct Deal {
  int first = 0;
  int count = 0;

  __device__ __forceinline__ int item(int i) const {
    return first + i * static_cast<int>(gridDim.x);
  }
};

// Deals the items of phase after phase like cards, each phase beginning where the last one stopped,
// so that all blocks get nearly the same.
class Dealer {
 public:
  __device__ __forceinline__ Deal Take(int items) {
    const int blocks = static_cast<int>(gridDim.x);
    Deal deal;
    deal.first = static_cast<int>(blockIdx.x) - next_;
    if (deal.first < 0) deal.first += blocks;
    if (deal.first < items) deal.count = (items - 1 - deal.first) / blocks + 1;
    next_ = (next_ + items) % blocks;
    return deal;
  }

 private:
  int next_ = 0;
};

// Tasks that the warps do side by side: no more than there are slots (StreamRing::Await).
__device__ __forceinline__ int TasksARound(int ring_slots) {
  return min(kConsumerWarps, ring_slots);
}

// A product's items are 16 outputs. In a round, each of its chains (kChainLength) is one warp's.
struct MatrixWalk {
  int blocks = 0;
  int chains = 0;
  int depth = 0;  // of a chain
  int steps = 0;  // slots of a chain
  int64_t block_tiles = 0;

  __device__ __forceinline__ MatrixWalk(int outputs, int inputs)
      : blocks((outputs + kWeightTileRows - 1) / kWeightTileRows),
        chains(inputs > kChainLength ? inputs / static_cast<int>(kChainLength) : 1),
        depth(inputs / chains),
        steps((depth + kSlotDepth - 1) / kSlotDepth),
        block_tiles(WeightTilesAcross(inputs)) {}
  __device__ __forceinline__ int blocks_a_round(int ring_slots) const {
    return TasksARound(ring_slots) / chains;
  }
  __device__ __forceinline__ int depth_at(int step) const {
    return min(kSlotDepth, depth - step * kSlotDepth);
  }
};

// Attention's items: a split of a sequence and a key/value head.
struct AttentionUnit {
  int token = 0;
  int kv_head = 0;
  int split = 0;
  int pages = 0;
};

// `begins` [num_tokens + 1]: the first unit of each sequence.
__device__ __forceinline__ AttentionUnit UnitOf(const DecodeStepParams& p, const int* begins,
                                                int index) {
  AttentionUnit unit;
  while (index >= begins[unit.token + 1]) ++unit.token;
  index -= begins[unit.token];
  unit.kv_head = index % p.num_kv_heads;
  unit.split = index / p.num_kv_heads;
  unit.pages =
      min(kPagesPerSplit, p.positions[unit.token] / kPageTokens + 1 - unit.split * kPagesPerSplit);
  return unit;
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_DECODE_STEP_PLAN_CUH_
