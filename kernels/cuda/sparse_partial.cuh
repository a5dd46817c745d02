#ifndef SIEVE_KERNELS_CUDA_SPARSE_PARTIAL_CUH_
#define SIEVE_KERNELS_CUDA_SPARSE_PARTIAL_CUH_

// Partial results of sparse attention: [rows, num_heads, max_splits, PartialFloats], a row a token.
// Combine merges those of a (row, head) in their order, which gives the bits of one that was
// merged before. A part that saw no key has a total of 0 and nothing else.

#include <cstdint>

#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/decode_partial.cuh"
#include "kernels/cuda/sparse_batch.h"

namespace sieve::cuda {

// Bytes of shared memory that a thread block may have unasked.
inline constexpr int kSharedAtHand = 48 << 10;

__device__ __forceinline__ int GroupOf(const SparseBatch& batch) {
  return static_cast<int>(batch.attention.num_heads / batch.attention.num_kv_heads);
}

// By all lanes of the head's quad (or by one thread with the whole of `out`).
__device__ __forceinline__ int64_t PartialOffset(const SparseBatch& batch, const SparsePiece& piece,
                                                 int token, int head, int64_t max_splits,
                                                 int64_t split) {
  const int64_t row = piece.first_row - batch.first_row + token;
  return ((row * batch.attention.num_heads + head) * max_splits + split) *
         PartialFloats(batch.attention.kv.head_dim);
}

// Says that a piece of one token has nothing in a split. By a warp.
__device__ __forceinline__ void StoreNothing(const SparseBatch& batch, const SparsePiece& piece,
                                             int kv_head, float* partials, int64_t max_splits,
                                             int64_t split) {
  const int group = GroupOf(batch), lane = threadIdx.x % 32;
  if (lane >= group) return;
  float* const at = partials +
                    PartialOffset(batch, piece, 0, kv_head * group + lane, max_splits, split) +
                    batch.attention.kv.head_dim;
  at[0] = -INFINITY;
  at[1] = 0;
}

// The sums of a warp's rows from `first_row` of the piece on (a row is a token and a query head of
// the group).
template <int kHeadDim>
__device__ __forceinline__ void StoreSparsePartial(const SparseBatch& batch,
                                                   const SparsePiece& piece, int kv_head,
                                                   int first_row, float* partials,
                                                   int64_t max_splits, int64_t split,
                                                   const WarpSums<kHeadDim>& sums) {
  const int group = GroupOf(batch), lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first_row + lane / 4 + 8 * r, token = row / group;
    if (token >= piece.tile.num_tokens) continue;
    float* const to = partials + PartialOffset(batch, piece, token, kv_head * group + row % group,
                                               max_splits, split);
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n) {
      *reinterpret_cast<float2*>(to + 8 * n + lane % 4 * 2) =
          make_float2(sums.out[n][2 * r], sums.out[n][2 * r + 1]);
    }
    if (lane % 4 == 0) {
      *reinterpret_cast<float2*>(to + kHeadDim) = make_float2(sums.row[r].max, sums.row[r].total);
    }
  }
}

// What the caches of floats have instead: a warp a (token, head), lane i with elements i, i + 32,
// ...; one split.
template <int kParts>
struct FloatSums {
  float out[kParts] = {};
  SoftmaxState row;

  // A key with its score in units of log2.
  __device__ __forceinline__ void Add(float score, const float* value, int d) {
    const float max = fmaxf(row.max, score);
    const float factor = exp2f(row.max - max), weight = exp2f(score - max);
    row.max = max;
    row.total = __fmaf_rn(row.total, factor, weight);
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      const int e = threadIdx.x % 32 + 32 * i;
      if (e < d) out[i] = __fmaf_rn(weight, value[e], __fmul_rn(out[i], factor));
    }
  }
  __device__ __forceinline__ void Store(int d, float* to) const {
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      const int e = threadIdx.x % 32 + 32 * i;
      if (e < d) to[e] = out[i];
    }
    if (threadIdx.x % 32 == 0) {
      to[d] = row.max;
      to[d + 1] = row.total;
    }
  }
};

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_SPARSE_PARTIAL_CUH_
