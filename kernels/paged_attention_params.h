#ifndef SIEVE_KERNELS_PAGED_ATTENTION_PARAMS_H_
#define SIEVE_KERNELS_PAGED_ATTENTION_PARAMS_H_

#include <cstdint>

#include "kernels/dtype.h"

namespace sieve {

// Tokens of a page of keys and values.
inline constexpr int64_t kAttentionPageTokens = 64;

// One layer's pages. Page p, key/value head h starts at base + p * page_stride + h * head_stride
// and holds the keys, transposed, [head_dim, 64], then the values [64, head_dim], both of type
// `dtype`. Transposed keys give one key a vector lane, so that a row of scores needs no sums across
// lanes.
struct PagedKvView {
  char* base = nullptr;
  int64_t page_stride = 0;    // bytes
  int64_t head_stride = 0;    // bytes
  DType dtype = DType::kF32;  // kF32, kF16 or kBF16
  int64_t head_dim = 0;

  char* keys(int64_t page, int64_t head) const {
    return base + page * page_stride + head * head_stride;
  }
  char* values(int64_t page, int64_t head) const {
    return keys(page, head) + kAttentionPageTokens * RowBytes(dtype, head_dim);
  }
};

// Causal attention of consecutive tokens of one sequence over its pages:
// out[t, h] = sum_j softmax_j(scale * q[t, h] . k[j, h / group]) v[j, h / group], j = 0 .. position
// of t in the blocks that t reads. A block is a page's 64 positions.
struct PagedAttentionParams {
  PagedKvView kv;
  const int32_t* block_table = nullptr;  // page of positions 64 i .. 64 i + 63
  const float* q = nullptr;              // [tokens, num_heads, head_dim], RoPE applied
  int64_t q_stride = 0;                  // floats from token to token
  float* out = nullptr;                  // [tokens, num_heads, head_dim]
  int64_t out_stride = 0;                // floats
  int64_t tokens = 0;
  int64_t first_position = 0;  // of token 0; keys up to the last token's own are in the cache
  int64_t group = 1;           // query heads a key/value head
  int64_t head_begin = 0;      // query heads to compute, of one key/value head's group
  int64_t head_end = 0;
  float scale = 1;
  const int32_t* blocks = nullptr;  // [num_blocks], ascending; null: all up to the last token's
  int64_t num_blocks = 0;
  // [num_blocks], bit t set: token t reads the block; null: all do. With it at most 64 tokens. Who
  // reads nothing gets zeros and a log-sum-exp of -infinity.
  const uint64_t* readers = nullptr;
  float* log_sum_exp = nullptr;    // [tokens, num_heads] of the scaled scores, unless null
  int64_t log_sum_exp_stride = 0;  // floats from token to token
};

}  // namespace sieve

#endif  // SIEVE_KERNELS_PAGED_ATTENTION_PARAMS_H_
