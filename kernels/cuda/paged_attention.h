#ifndef SIEVE_KERNELS_CUDA_PAGED_ATTENTION_H_
#define SIEVE_KERNELS_CUDA_PAGED_ATTENTION_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/paged_kv.h"

namespace sieve::cuda {

// Consecutive tokens of one sequence.
struct AttentionTile {
  int32_t sequence = 0;     // whose block table
  int32_t first_token = 0;  // row of q and out
  int32_t num_tokens = 0;
  int32_t position = 0;  // of first_token
};

// Keys that one partial result covers. A token's result is merged from those of 0 .. 255, 256 .. 511, ... in this order,
// whichever kernel computes them and in whatever company, and so has the same bits each time.
inline constexpr int kSplitTokens = 256;

// Causal attention over pages: out[t, h] = sum_j softmax_j(scale q[t, h] . k[j, h / group]) v[j, h / group],
// j = 0 .. position of t, group = num_heads / num_kv_heads. Device pointers.
struct PagedAttentionParams {
  PagedKv kv;                  // of one layer; this step's keys and values are in it
  const void* q = nullptr;     // [tokens, num_heads, head_dim], of kv.dtype
  void* out = nullptr;         // likewise
  const AttentionTile* tiles = nullptr;  // [num_tiles]
  int64_t num_tiles = 0;
  const int32_t* block_tables = nullptr;  // pages of sequence s from s * block_table_stride on
  int64_t block_table_stride = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  float scale = 1;
};

// Tokens of a tile that PrefillAttention computes at a time; a tile has at most as many.
int64_t PrefillTileTokens(int64_t group);

// For tiles of several tokens.
cudaError_t PrefillAttention(const PagedAttentionParams& params, cudaStream_t stream);

// For tiles of one token, split over the context; max_splits covers the longest (ceil((position + 1) / kSplitTokens)).
// `partials` holds DecodePartialFloats(...) floats.
int64_t DecodePartialFloats(int64_t num_tiles, int64_t num_heads, int64_t head_dim, int64_t max_splits);
cudaError_t DecodeAttention(const PagedAttentionParams& params, int64_t max_splits, float* partials,
                            cudaStream_t stream);

// cudaErrorInvalidValue from both unless head_dim is 64, 80, 96, 128 or 256 and a group has at most 16 heads.
bool AttentionSupports(int64_t head_dim, int64_t group);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_PAGED_ATTENTION_H_
