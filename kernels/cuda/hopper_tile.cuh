#ifndef SIEVE_KERNELS_CUDA_HOPPER_TILE_CUH_
#define SIEVE_KERNELS_CUDA_HOPPER_TILE_CUH_

// What the parts of hopper_matmul share: the shape of a tile, and what a block keeps in shared
// memory.

#include <cuda.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/matmul_params.h"
#include "kernels/cuda/stage_barrier.cuh"
#include "kernels/cuda/weight_tiles.h"

namespace sieve::cuda {

inline constexpr int kWarpgroupThreads = 128;
inline constexpr int kWarpgroupOutputs = 64;
inline constexpr int kStepsPerChain = static_cast<int>(kChainLength) / kWeightTileDepth;

// A block computes 64 outputs a warpgroup for kTokens tokens, and one more warp copies. Blocks in a
// cluster work on neighbouring outputs of the same tokens: each fetches its share of the
// activations for all.
template <int kWarpgroupsArg, int kTokensArg, int kClusterArg>
struct HopperTile {
  static constexpr int kWarpgroups = kWarpgroupsArg, kTokens = kTokensArg, kCluster = kClusterArg;
  static constexpr int kOutputs = kWarpgroupOutputs * kWarpgroups;
  static constexpr int kDepth = kWeightTileDepth;
  static constexpr int kThreads = kWarpgroupThreads * kWarpgroups + 32;
  static constexpr int kStagedTokens = std::min(32, kTokens);  // that are stored at a time
  static constexpr int kStagedStride = kWarpgroupOutputs + 4;  // no bank is met twice

  struct Stage {
    char weights[kOutputs * kDepth * 2];
    char x[kTokens * kDepth * 2];
  };
  static constexpr int kMostBytes = 227 * 1024, kStoreBytes = kWarpgroups * kStagedTokens *
                                                              kStagedStride *
                                                              static_cast<int>(sizeof(float));
  static constexpr int kStages =
      std::min(16, (kMostBytes - kStoreBytes - 512) / static_cast<int>(sizeof(Stage)));

  struct Shared {
    Stage stages[kStages];  // 1024-byte aligned, as every part of them is
    alignas(16) float staged[kWarpgroups][kStagedTokens * kStagedStride];
    StageBarrier full[kStages], empty[kStages];
  };
  static_assert(sizeof(Shared) <= kMostBytes && kStages >= 3 && sizeof(Stage) % 1024 == 0);
  static_assert(kTokens % (8 * kCluster) == 0);
};

// A kernel's arguments.
struct HopperArgs {
  CUtensorMap x;  // boxes of the tokens that one block of a cluster fetches
  MatMulParams p;
  void* inner = nullptr;  // of a gated product, instead of p.y: [num_tokens, p.outputs / 2]
  int token_tiles = 0;
  int output_tiles = 0;  // each of a cluster's outputs
};

// A cluster's work.
struct HopperWork {
  int64_t output = 0, token = 0;  // the first ones
};

// Clusters that run at the same time shall read few different weights and activations, or the L2
// cache would not deliver them fast enough: the order is outputs by outputs for eight tiles of
// tokens.
template <typename Tile>
__device__ __forceinline__ HopperWork WorkAt(const HopperArgs& args, int index) {
  constexpr int kBand = 8;
  const int band = index / (kBand * args.output_tiles);
  const int first = band * kBand, height = min(kBand, args.token_tiles - first);
  const int inside = index - first * args.output_tiles;
  return {int64_t{inside / height} * Tile::kOutputs * Tile::kCluster,
          int64_t{first + inside % height} * Tile::kTokens};
}

// A place in the ring of stages: slot, and the parity of how often it was used before.
template <int kSlots>
struct RingPosition {
  int slot = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void Advance() {
    if (++slot == kSlots) {
      slot = 0;
      parity ^= 1;
    }
  }
};

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_HOPPER_TILE_CUH_
