#ifndef SIEVE_KERNELS_CUDA_ATTENTION_PARAMS_H_
#define SIEVE_KERNELS_CUDA_ATTENTION_PARAMS_H_

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

// Keys that one partial result covers. A token's result is merged from those of 0 .. 255, 256 ..
// 511, ... in this order, whichever kernel computes them and in whatever company, and so has the
// same bits each time.
inline constexpr int kSplitTokens = 256;

// Causal attention over pages: out[t, h] = sum_j softmax_j(scale q[t, h] . k[j, h / group]) v[j, h
// / group], j = 0 .. position of t, group = num_heads / num_kv_heads. Device pointers.
struct PagedAttentionParams {
  PagedKv kv;                            // of one layer; this step's keys and values are in it
  const void* q = nullptr;               // [tokens, num_heads, head_dim], of kv.dtype
  void* out = nullptr;                   // likewise
  const AttentionTile* tiles = nullptr;  // [num_tiles]
  int64_t num_tiles = 0;
  const int32_t* block_tables = nullptr;  // pages of sequence s from s * block_table_stride on
  int64_t block_table_stride = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  float scale = 1;  // positive
  // Of tiles of one token: whether a kernel may fetch all pages but each tile's last, which its own
  // token is in, before the kernels before it are complete. So it is where every kernel that writes
  // one of those pages was complete before the first kernel of the step began: the step begins
  // after all earlier ones (as a graph does), and its other tokens write none of them. With prompts
  // in the step they might, one sequence's pages being another's too.
  bool may_read_ahead = false;
};

// What the kernels take: head dimensions of 64, 80, 96, 128 or 256, and groups of at most 16 heads.
// They return cudaErrorInvalidValue for others.
constexpr bool AttentionSupports(int64_t head_dim, int64_t group) {
  return (head_dim == 64 || head_dim == 80 || head_dim == 96 || head_dim == 128 ||
          head_dim == 256) &&
         group >= 1 && group <= 16;
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_ATTENTION_PARAMS_H_
