#ifndef SIEVE_KERNELS_CUDA_ATTENTION_FLOAT_CUH_
#define SIEVE_KERNELS_CUDA_ATTENTION_FLOAT_CUH_

// Attention over a cache of floats: for checking a model's numbers, not for speed.

#include <cuda_runtime_api.h>

#include "kernels/cuda/attention_params.h"

namespace sieve::cuda {

// A warp a (token of a tile, head), over the keys in order; lane i holds elements i, i + 32, ...
template <int kParts>
__global__ void FloatAttentionKernel(PagedAttentionParams p) {
  const AttentionTile tile = p.tiles[blockIdx.z];
  const int token = blockIdx.y, head = blockIdx.x, d = static_cast<int>(p.kv.head_dim);
  if (token >= tile.num_tokens) return;
  const int64_t at = ((tile.first_token + token) * p.num_heads + head) * d;
  const char* pages = p.kv.base + head / (p.num_heads / p.num_kv_heads) * p.kv.head_stride;
  const int32_t* table = p.block_tables + tile.sequence * p.block_table_stride;
  float q[kParts], out[kParts], max = -INFINITY, total = 0;
  for (int i = 0; i < kParts; ++i) {
    const int e = threadIdx.x + 32 * i;
    q[i] = e < d ? static_cast<const float*>(p.q)[at + e] * p.scale : 0;
    out[i] = 0;
  }
  for (int j = 0; j <= tile.position + token; ++j) {
    const float* keys =
        reinterpret_cast<const float*>(pages + table[j / kPageTokens] * p.kv.page_stride) +
        j % kPageTokens * d;
    const float* values = keys + kPageTokens * d;
    float score = 0;
    for (int i = 0; i < kParts; ++i) {
      const int e = threadIdx.x + 32 * i;
      if (e < d) score += q[i] * keys[e];
    }
    for (int offset = 16; offset > 0; offset /= 2) score += __shfl_xor_sync(~0u, score, offset);
    const float new_max = fmaxf(max, score);
    const float factor = expf(max - new_max), weight = expf(score - new_max);
    max = new_max;
    total = total * factor + weight;
    for (int i = 0; i < kParts; ++i) {
      const int e = threadIdx.x + 32 * i;
      if (e < d) out[i] = out[i] * factor + weight * values[e];
    }
  }
  for (int i = 0; i < kParts; ++i) {
    const int e = threadIdx.x + 32 * i;
    if (e < d) static_cast<float*>(p.out)[at + e] = out[i] / total;
  }
}

// `most_tokens`: of a tile.
inline cudaError_t FloatAttention(const PagedAttentionParams& p, int64_t most_tokens,
                                  cudaStream_t stream) {
  const dim3 grid(p.num_heads, most_tokens, p.num_tiles);
  FloatAttentionKernel<8><<<grid, 32, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_ATTENTION_FLOAT_CUH_
