#include "kernels/cuda/attention_dispatch.cuh"
#include "kernels/cuda/attention_split.cuh"
#include "kernels/cuda/combine.h"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/row_math.cuh"
#include "kernels/cuda/sparse_partial.cuh"

namespace sieve::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kMostParts = 3;
constexpr int kAhead = 8;  // splits

// A part's sums for one row and head; lane i has elements i, i + 32, ...
template <int kParts>
struct Part {
  SoftmaxState state;
  float out[kParts] = {};

  __device__ void Load(const PartialSums& sums, int64_t row_and_head, int d) {
    if (sums.data == nullptr) return;
    const float* partial = sums.data + row_and_head * sums.max_splits * PartialFloats(d);
    // Several are read before they are merged.
    for (int64_t left = sums.max_splits; left > 0;
         left -= kAhead, partial += kAhead * PartialFloats(d)) {
      SoftmaxState next[kAhead];
      float values[kAhead][kParts];
#pragma unroll
      for (int s = 0; s < kAhead; ++s) {
        const float* const at = partial + s * PartialFloats(d) + d;
        if (s < left) next[s] = {at[0], at[1]};
      }
#pragma unroll
      for (int s = 0; s < kAhead; ++s) {
#pragma unroll
        for (int i = 0; i < kParts; ++i) {
          const int e = threadIdx.x % 32 + 32 * i;
          // Of one that has no total nothing else was stored.
          const bool is_there = next[s].total != 0 && e < d;
          values[s][i] = is_there ? partial[s * PartialFloats(d) + e] : 0;
        }
      }
#pragma unroll
      for (int s = 0; s < kAhead; ++s) {
        if (next[s].total == 0) continue;
        const MergeFactors f = Merge(&state, next[s]);
#pragma unroll
        for (int i = 0; i < kParts; ++i) out[i] = MergeValue(f, out[i], values[s][i]);
      }
    }
  }
  __device__ bool is_empty() const { return state.total == 0; }
  __device__ float LogSumExp() const {
    return is_empty() ? -INFINITY : (state.max + log2f(state.total)) * static_cast<float>(M_LN2);
  }
};

// A warp a (token of the batch, head).
template <typename T, int kParts>
__global__ void __launch_bounds__(kWarps * 32) CombineKernel(CombineParams p) {
  const PagedAttentionParams& a = p.batch.attention;
  const SparsePiece piece = p.batch.pieces[blockIdx.z];
  const int head = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32;
  const int token = blockIdx.y, lane = threadIdx.x % 32, d = static_cast<int>(a.kv.head_dim);
  if (token >= piece.tile.num_tokens || head >= a.num_heads) return;
  const int64_t row = (piece.first_row - p.batch.first_row + token) * a.num_heads + head;
  const int64_t at = (piece.tile.first_token + token) * a.num_heads + head;
  Part<kParts> parts[kMostParts];
  parts[0].Load(p.entries, row, d);
  parts[1].Load(p.chosen, row, d);
  parts[2].Load(p.base, row, d);

  float weights[kMostParts];
#pragma unroll
  for (int i = 0; i < kMostParts; ++i) {
    const float gamma =
        i < p.gammas_per_head
            ? p.gammas[(piece.tile.first_token + token) * p.gamma_cols + i * a.num_heads + head]
            : 0;
    weights[i] = p.is_literal ? 1 / (1 + expf(-gamma)) : parts[i].LogSumExp() + gamma;
  }
  if (!p.is_literal) {
    if (!parts[0].is_empty()) {
      float bias = p.entry_bias + (p.head_bias != nullptr ? p.head_bias[head] : 0.0f);
      if (p.query_shift != nullptr) {
        float dot = 0;
        for (int e = lane; e < d; e += 32) {
          dot = __fmaf_rn(ToFloat(static_cast<const T*>(a.q)[at * d + e]),
                          p.query_shift[head * d + e], dot);
        }
        bias += a.scale * WarpSum(dot);
      }
      weights[0] += bias;
    }
    const float max = fmaxf(weights[0], fmaxf(weights[1], weights[2]));
    float total = 0;
#pragma unroll
    for (int i = 0; i < kMostParts; ++i) total += weights[i] = expf(weights[i] - max);
#pragma unroll
    for (int i = 0; i < kMostParts; ++i) weights[i] = __fdiv_rn(weights[i], total);
  }
  float out[kParts] = {};
#pragma unroll
  for (int part = 0; part < kMostParts; ++part) {
    if (parts[part].is_empty()) continue;
    const float weight = __fdiv_rn(weights[part], parts[part].state.total);
#pragma unroll
    for (int i = 0; i < kParts; ++i) out[i] = __fmaf_rn(weight, parts[part].out[i], out[i]);
  }
  T* const to = static_cast<T*>(a.out) + at * d;
#pragma unroll
  for (int i = 0; i < kParts; ++i) {
    const int e = lane + 32 * i;
    if (e < d) to[e] = FromFloat<T>(out[i]);
  }
}

}  // namespace

cudaError_t Combine(const CombineParams& params, cudaStream_t stream) {
  const PagedAttentionParams& a = params.batch.attention;
  if (params.batch.num_pieces == 0) return cudaSuccess;
  if (a.kv.head_dim > 256) return cudaErrorInvalidValue;
  return WithElement(a.kv.dtype, [&](auto element) {
    using T = decltype(element);
    const auto kernel = a.kv.head_dim <= 64    ? CombineKernel<T, 2>
                        : a.kv.head_dim <= 128 ? CombineKernel<T, 4>
                                               : CombineKernel<T, 8>;
    const dim3 grid((a.num_heads + kWarps - 1) / kWarps, params.batch.max_tokens,
                    params.batch.num_pieces);
    kernel<<<grid, kWarps * 32, 0, stream>>>(params);
    return cudaGetLastError();
  });
}

}  // namespace sieve::cuda
