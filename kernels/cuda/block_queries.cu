#include <algorithm>

#include "kernels/cuda/attention_dispatch.cuh"
#include "kernels/cuda/block_queries.h"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/row_math.cuh"
#include "kernels/cuda/sparse_partial.cuh"

namespace sieve::cuda {
namespace {

constexpr int kThreads = 128;

template <typename T>
__device__ __forceinline__ const T* QueryOf(const SparseBatch& batch, const SparsePiece& piece,
                                            int token, int head) {
  const PagedAttentionParams& a = batch.attention;
  return static_cast<const T*>(a.q) +
         ((piece.tile.first_token + token) * a.num_heads + head) * a.kv.head_dim;
}

// A thread block a (piece, key/value head), a thread a result.
template <typename T>
__global__ void __launch_bounds__(kThreads) IndexKernel(IndexQueriesParams p) {
  extern __shared__ float q[];  // [tokens, group, d]
  const PagedAttentionParams& a = p.batch.attention;
  const SparsePiece piece = p.batch.pieces[blockIdx.x];
  const int kv_head = blockIdx.y, group = GroupOf(p.batch), d = static_cast<int>(a.kv.head_dim);
  const int rank = static_cast<int>(p.rank), cols = group * d;
  for (int i = threadIdx.x; i < piece.tile.num_tokens * cols; i += kThreads) {
    q[i] = ToFloat(QueryOf<T>(p.batch, piece, i / cols, kv_head * group)[i % cols]);
  }
  __syncthreads();
  const float* const w = p.weights + static_cast<int64_t>(kv_head) * d * rank;
  for (int i = threadIdx.x; i < piece.tile.num_tokens * group * rank; i += kThreads) {
    const int row = i / rank, r = i % rank;
    float sum = 0;
    for (int e = 0; e < d; ++e) sum = __fmaf_rn(w[e * rank + r], q[row * d + e], sum);
    const int64_t at = piece.first_row - p.batch.first_row + row / group;
    p.out[(at * a.num_heads + kv_head * group + row % group) * rank + r] = sum;
  }
}

// The same, with tokens one after the other, and two elements that are rotated together a thread.
template <typename T>
__global__ void __launch_bounds__(kThreads) GateKernel(GateQueriesParams p) {
  extern __shared__ float q[];  // [group, d]
  const PagedAttentionParams& a = p.batch.attention;
  const SparsePiece piece = p.batch.pieces[blockIdx.x];
  const int kv_head = blockIdx.y, group = GroupOf(p.batch), d = static_cast<int>(a.kv.head_dim);
  const int half = d / 2, cols = group * d;
  const auto first = [&](int pair) { return p.interleaved ? 2 * pair : pair; };
  const auto second = [&](int pair) { return p.interleaved ? 2 * pair + 1 : pair + half; };
  const float* const w = p.weights + static_cast<int64_t>(kv_head) * cols * d;
  for (int token = 0; token < piece.tile.num_tokens; ++token) {
    const T* const query = QueryOf<T>(p.batch, piece, token, kv_head * group);
    const int64_t angles = static_cast<int64_t>(piece.tile.first_token + token) * half;
    for (int i = threadIdx.x; i < group * half; i += kThreads) {
      const int head = i / half * d, pair = i % half;
      const float2 back =
          Rotate(ToFloat(query[head + first(pair)]), ToFloat(query[head + second(pair)]),
                 p.cosines[angles + pair], -p.sines[angles + pair]);
      q[head + first(pair)] = back.x;
      q[head + second(pair)] = back.y;
    }
    __syncthreads();
    float* const out =
        p.out + ((piece.first_row - p.batch.first_row + token) * a.num_kv_heads + kv_head) * d;
    for (int pair = threadIdx.x; pair < half; pair += kThreads) {
      float x = 0, y = 0;
      for (int c = 0; c < cols; ++c) {
        x = __fmaf_rn(w[c * d + first(pair)], q[c], x);
        y = __fmaf_rn(w[c * d + second(pair)], q[c], y);
      }
      const float2 turned = Rotate(x, y, p.cosines[angles + pair], p.sines[angles + pair]);
      out[first(pair)] = turned.x;
      out[second(pair)] = turned.y;
    }
    __syncthreads();
  }
}

template <typename Kernel, typename Params>
cudaError_t Launch(Kernel kernel, const Params& params, int64_t floats, cudaStream_t stream) {
  const int bytes = static_cast<int>(floats * static_cast<int64_t>(sizeof(float)));
  if (bytes > kSharedAtHand) {
    if (const cudaError_t error = AllowShared(kernel, bytes); error != cudaSuccess) return error;
  }
  const dim3 grid(params.batch.num_pieces, params.batch.attention.num_kv_heads);
  kernel<<<grid, kThreads, bytes, stream>>>(params);
  return cudaGetLastError();
}

int64_t GroupCols(const SparseBatch& batch) {
  const PagedAttentionParams& a = batch.attention;
  return a.num_heads / a.num_kv_heads * a.kv.head_dim;
}

}  // namespace

cudaError_t IndexQueries(const IndexQueriesParams& params, cudaStream_t stream) {
  if (params.batch.num_pieces == 0) return cudaSuccess;
  return WithElement(params.batch.attention.kv.dtype, [&](auto element) {
    return Launch(IndexKernel<decltype(element)>, params,
                  params.batch.max_tokens * GroupCols(params.batch), stream);
  });
}

cudaError_t GateQueries(const GateQueriesParams& params, cudaStream_t stream) {
  if (params.batch.num_pieces == 0) return cudaSuccess;
  return WithElement(params.batch.attention.kv.dtype, [&](auto element) {
    return Launch(GateKernel<decltype(element)>, params, GroupCols(params.batch), stream);
  });
}

}  // namespace sieve::cuda
