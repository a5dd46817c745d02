#ifndef SIEVE_KERNELS_CUDA_HOPPER_TILE_CUH_
#define SIEVE_KERNELS_CUDA_HOPPER_TILE_CUH_

// What the parts of hopper_matmul share: the shape of a tile, what a block keeps in shared memory,
// and the order of the work.

#include <cuda.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/matmul_params.h"
#include "kernels/cuda/rope_params.h"
#include "kernels/cuda/stage_barrier.cuh"
#include "kernels/cuda/weight_tiles.h"

namespace sieve::cuda {

inline constexpr int kWarpgroups = 2, kWarpgroupThreads = 128;
inline constexpr int kBandOutputs = 64;                     // of one wgmma
inline constexpr int kBoxRowBytes = 128, kBulkTokens = 64;  // hopper_bulk_store.cuh
inline constexpr int kStepsPerChain = static_cast<int>(kChainLength) / kWeightTileDepth;

// A tile is kBands * 64 outputs of kTokens tokens. Two warpgroups take turns, a tile each: while
// one stores, the other multiplies. One more warp copies weights and one activations.
template <int kBandsArg, int kTokensArg>
struct HopperTile {
  static constexpr int kBands = kBandsArg, kTokens = kTokensArg;
  static constexpr int kOutputs = kBandOutputs * kBands;
  static constexpr int kDepth = kWeightTileDepth;
  static constexpr int kStoredTokens = std::min(32, kTokens);  // that are stored at a time
  static constexpr int kStoredStride = kBandOutputs + 4;       // no bank is met twice
  static constexpr bool kIsLarge = kBands == 2 && kTokens == 128;
  // Whole warpgroups where registers are dealt anew.
  static constexpr int kThreads = kWarpgroupThreads * kWarpgroups + (kIsLarge ? 128 : 64);

  struct Stage {
    char weights[kOutputs * kDepth * 2];
    char x[kTokens * kDepth * 2];
  };
  static constexpr int kMostBytes = 227 * 1024;
  static constexpr int kStoredBytes =  // of a warpgroup
      kIsLarge ? 2 * kBulkTokens * kBoxRowBytes
               : kStoredTokens * kStoredStride * static_cast<int>(sizeof(float));
  static constexpr int kStages = std::min(
      16, (kMostBytes - kWarpgroups * kStoredBytes - 512) / static_cast<int>(sizeof(Stage)));

  struct Shared {
    Stage stages[kStages];  // 1024-byte aligned, as every part of them is
    char stored[kWarpgroups][kStoredBytes];
    StageBarrier full[kStages], empty[kStages];
    StageBarrier turn[kWarpgroups];  // the other one has done its products
  };
  static_assert(sizeof(Shared) <= kMostBytes && kStages >= 3 && sizeof(Stage) % 1024 == 0);

  using Sums = float[kBands][kTokens / 2];  // a thread's
};

// A kernel's arguments.
struct HopperArgs {
  CUtensorMap weights;  // boxes of a tile's outputs
  CUtensorMap x;        // boxes of a tile's tokens
  CUtensorMap result;   // boxes that are stored in bulk
  MatMulParams p;
  RopeAndStoreParams rope;  // of queries, keys and values, instead of p.y
  void* inner = nullptr;    // of a gated product, instead of p.y: [num_tokens, p.outputs / 2]
  int token_tiles = 0;
  int output_tiles = 0;
  bool stores_in_bulk = false;
  bool splits_chains = false;  // a cluster of two blocks has one tile, and each of them a chain

  __device__ __forceinline__ int tiles() const { return token_tiles * output_tiles; }
  __device__ __forceinline__ int steps() const {
    return static_cast<int>(WeightTilesAcross(p.inputs));
  }
};

// The first output and token of a tile.
struct TilePlace {
  int64_t output = 0, token = 0;
};

// Blocks that run at the same time shall read few different weights and activations, or the L2
// cache would not deliver them fast enough: the order is outputs by outputs for 8 tiles of tokens.
template <typename Tile>
__device__ __forceinline__ TilePlace PlaceOf(const HopperArgs& args, int index) {
  constexpr int kStrip = 8;
  const int first = index / (kStrip * args.output_tiles) * kStrip;
  const int height = min(kStrip, args.token_tiles - first);
  const int inside = index - first * args.output_tiles;
  return {int64_t{inside / height} * Tile::kOutputs,
          int64_t{first + inside % height} * Tile::kTokens};
}

// What a block does, in the order in which its stages are filled: of each two tiles (the last may
// be alone) the first chains, then the second ones, and so on. Calls f(warpgroup whose turn it is,
// tile, chain's first step, steps, whether the other one was before).
template <typename F>
__device__ __forceinline__ void ForTurns(const HopperArgs& args, F f) {
  const int block = static_cast<int>(blockIdx.x), blocks = static_cast<int>(gridDim.x);
  const bool splits = args.splits_chains;
  const int begin = splits ? block / 2 : block,
            first_step = splits ? block % 2 * kStepsPerChain : 0;
  const int end_step = splits ? min(first_step + kStepsPerChain, args.steps()) : args.steps();
  for (int first = begin; first < args.tiles(); first += 2 * blocks) {
    const bool paired = !splits && first + blocks < args.tiles();
    for (int step = first_step; step < end_step; step += kStepsPerChain) {
      const int count = min(kStepsPerChain, end_step - step);
#pragma unroll 1
      for (int whose = 0; whose < (paired ? 2 : 1); ++whose) {
        const bool follows_other = whose == 1 || (step > first_step ? paired : first > begin);
        f(whose, first + whose * blocks, step, count, follows_other);
      }
    }
  }
}

// A place in the ring of stages: slot, and the parity of how often it was used before.
template <int kSlots>
struct RingPosition {
  int slot = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void Advance(int count = 1) {
    slot += count;
    parity ^= slot / kSlots & 1;
    slot %= kSlots;
  }
};

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_HOPPER_TILE_CUH_
