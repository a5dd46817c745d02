#ifndef SIEVE_KERNELS_CUDA_ATTENTION_TILE_CUH_
#define SIEVE_KERNELS_CUDA_ATTENTION_TILE_CUH_

// What a tile's queries and pages are to a kernel.

#include <cstdint>

#include "kernels/cuda/attention_params.h"
#include "kernels/cuda/attention_split.cuh"

namespace sieve::cuda {

inline constexpr int kPagesPerSplit = kSplitTokens / kPageTokens;

// Where a (tile, key/value head) finds its pages.
struct Place {
  const char* pages;  // of this key/value head, in page 0
  const int32_t* table;
  __device__ Place(const PagedAttentionParams& p, const AttentionTile& tile, int kv_head)
      : pages(p.kv.base + kv_head * p.kv.head_stride),
        table(p.block_tables + tile.sequence * p.block_table_stride) {}
  __device__ const char* page(const PagedAttentionParams& p, int index) const {
    return pages + table[index] * p.kv.page_stride;
  }
};

// Where the rows of a warp are in q and out: 16 from `first_row` on of a tile of num_tokens * group
// rows. Lane 4 g + t has rows g and g + 8; -1 where the tile has no such row.
template <int kHeadDim>
__device__ __forceinline__ void RowOffsets(const PagedAttentionParams& p, const AttentionTile& tile,
                                           int kv_head, int first_row, int64_t (&offset)[2]) {
  const int group = static_cast<int>(p.num_heads / p.num_kv_heads);
  for (int r = 0; r < 2; ++r) {
    const int row = first_row + threadIdx.x % 32 / 4 + 8 * r;
    const int token = row / group;
    offset[r] =
        token < tile.num_tokens
            ? ((tile.first_token + token) * p.num_heads + kv_head * group + row % group) * kHeadDim
            : -1;
  }
}

// The rows themselves.
template <typename T, int kHeadDim>
__device__ __forceinline__ void SetUpRows(const PagedAttentionParams& p, const AttentionTile& tile,
                                          int kv_head, int first_row, WarpRows<T, kHeadDim>* rows,
                                          int64_t (&offset)[2]) {
  const int group = static_cast<int>(p.num_heads / p.num_kv_heads);
  RowOffsets<kHeadDim>(p, tile, kv_head, first_row, offset);
  for (int r = 0; r < 2; ++r) {
    const int token = (first_row + static_cast<int>(threadIdx.x) % 32 / 4 + 8 * r) / group;
    rows->position[r] = tile.position + min(token, tile.num_tokens - 1);
  }
  LoadQueries<T, kHeadDim>(static_cast<const T*>(p.q), offset, rows);
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_ATTENTION_TILE_CUH_
