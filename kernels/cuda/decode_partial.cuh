#ifndef SIEVE_KERNELS_CUDA_DECODE_PARTIAL_CUH_
#define SIEVE_KERNELS_CUDA_DECODE_PARTIAL_CUH_

// What decode attention leaves of a split in device memory, until all splits of a head are merged.

#include <cstdint>

#include "kernels/cuda/attention_params.h"
#include "kernels/cuda/attention_split.cuh"

namespace sieve::cuda {

// Floats of a partial result: out[head_dim], max, total.
__host__ __device__ constexpr int64_t PartialFloats(int64_t head_dim) { return head_dim + 2; }

// partials [tiles, num_heads, max_splits, PartialFloats].
struct DecodePartials {
  float* data = nullptr;
  int max_splits = 0;

  template <int kHeadDim>
  __device__ __forceinline__ float* Of(const PagedAttentionParams& p, int64_t tile, int head,
                                       int split) const {
    return data + ((tile * p.num_heads + head) * max_splits + split) * PartialFloats(kHeadDim);
  }
};

// The result of one split for the heads of a group. By a warp.
template <int kHeadDim>
__device__ __forceinline__ void StorePartial(const PagedAttentionParams& p,
                                             const DecodePartials& partials, int tile, int kv_head,
                                             int split, const WarpSums<kHeadDim>& sums) {
  const int group = static_cast<int>(p.num_heads / p.num_kv_heads), lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = lane / 4 + 8 * r;
    if (row >= group) continue;
    float* partial = partials.Of<kHeadDim>(p, tile, kv_head * group + row, split);
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n) {
      float2* at = reinterpret_cast<float2*>(partial + 8 * n + lane % 4 * 2);
      *at = make_float2(sums.out[n][2 * r], sums.out[n][2 * r + 1]);
    }
    if (lane % 4 == 0) {
      *reinterpret_cast<float2*>(partial + kHeadDim) =
          make_float2(sums.row[r].max, sums.row[r].total);
    }
  }
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_DECODE_PARTIAL_CUH_
