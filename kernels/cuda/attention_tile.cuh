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

// The rows of a warp: 16 from `first_row` on of a tile of num_tokens * group rows.
template <typename T, int kHeadDim>
__device__ __forceinline__ void SetUpRows(const PagedAttentionParams& p, const AttentionTile& tile,
                                          int kv_head, int first_row, WarpRows<T, kHeadDim>* rows,
                                          int64_t (&offset)[2]) {
  const int group = static_cast<int>(p.num_heads / p.num_kv_heads);
  for (int r = 0; r < 2; ++r) {
    const int row = first_row + threadIdx.x % 32 / 4 + 8 * r;
    const int token = row / group;
    const bool valid = token < tile.num_tokens;
    rows->position[r] = tile.position + (valid ? token : tile.num_tokens - 1);
    offset[r] = valid ? ((tile.first_token + token) * p.num_heads + kv_head * group + row % group) *
                            kHeadDim
                      : -1;
  }
  LoadQueries<T, kHeadDim>(static_cast<const T*>(p.q), offset, rows);
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_ATTENTION_TILE_CUH_
