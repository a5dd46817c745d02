#ifndef SIEVE_KERNELS_CUDA_DECODE_UNITS_CUH_
#define SIEVE_KERNELS_CUDA_DECODE_UNITS_CUH_

// The work of decode attention as a list, and how Hopper's blocks share it.

#include <cstdint>

#include "kernels/cuda/attention_params.h"
#include "kernels/cuda/attention_tile.cuh"

namespace sieve::cuda {

// By all threads of the block; a barrier is to follow.
__device__ __forceinline__ void CountSplits(const PagedAttentionParams& p, int* first_splits) {
  const int tiles = static_cast<int>(p.num_tiles), lane = threadIdx.x % 32;
  for (int i = threadIdx.x; i < tiles; i += blockDim.x) {
    first_splits[i + 1] = p.tiles[i].position / kSplitTokens + 1;
  }
  __syncthreads();
  if (threadIdx.x >= 32) return;
  int before = 0;
  for (int first = 0; first < tiles; first += 32) {
    int sum = first + lane < tiles ? first_splits[first + lane + 1] : 0;
#pragma unroll
    for (int lanes = 1; lanes < 32; lanes *= 2) {
      const int other = __shfl_up_sync(~0u, sum, lanes);
      if (lane >= lanes) sum += other;
    }
    if (first + lane < tiles) first_splits[first + lane + 1] = before + sum;
    before += __shfl_sync(~0u, sum, 31);
  }
  if (lane == 0) first_splits[0] = 0;
}

// A split of a tile and a key/value head.
struct DecodeUnit {
  AttentionTile tile;
  int index = 0;
  int tile_index = 0;
  int kv_head = 0;
  int split = 0, splits = 0;  // of the tile
  int pages = 0;
};

// A block's units: begin .. end - 1.
struct DecodeShare {
  int begin, end;
};

// Units in the order of tiles, heads, splits: in that order splits are merged.
class DecodeUnits {
 public:
  __device__ __forceinline__ DecodeUnits(const PagedAttentionParams& p, const int* first_splits)
      : p_(p), first_splits_(first_splits) {}

  __device__ __forceinline__ DecodeShare ShareOf(int block, int blocks) const {
    const int64_t count = first_splits_[p_.num_tiles] * p_.num_kv_heads;
    return {static_cast<int>(count * block / blocks),
            static_cast<int>(count * (block + 1) / blocks)};
  }
  __device__ __forceinline__ DecodeUnit operator[](int index) const {
    const int heads = static_cast<int>(p_.num_kv_heads), split = index / heads;
    int low = 0, high = static_cast<int>(p_.num_tiles);  // the tile is in low .. high - 1
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (first_splits_[middle] <= split ? low : high) = middle;
    }
    DecodeUnit unit;
    unit.tile = p_.tiles[low];
    unit.index = index;
    unit.tile_index = low;
    unit.splits = first_splits_[low + 1] - first_splits_[low];
    const int inside = index - first_splits_[low] * heads;
    unit.kv_head = inside / unit.splits;
    unit.split = inside % unit.splits;
    unit.pages =
        min(kPagesPerSplit, unit.tile.position / kPageTokens + 1 - unit.split * kPagesPerSplit);
    return unit;
  }

 private:
  const PagedAttentionParams& p_;
  const int* const first_splits_;
};

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_DECODE_UNITS_CUH_
