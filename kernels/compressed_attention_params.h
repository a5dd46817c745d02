#ifndef SIEVE_KERNELS_COMPRESSED_ATTENTION_PARAMS_H_
#define SIEVE_KERNELS_COMPRESSED_ATTENTION_PARAMS_H_

#include <cstdint>

#include "kernels/block_summary.h"

namespace sieve {

// Attention of one token's query heads of one key/value head over the compressed entries of
// blocks: out[h] = sum_e softmax_e(scale * q[h] . k[e] + a[e] + head_bias[h]) v[e].
struct CompressedAttentionParams {
  SummaryLayout layout{};
  SummaryView summaries{};
  int64_t kv_head = 0;
  const int32_t* block_table = nullptr;
  const int32_t* blocks = nullptr;  // [num_blocks]; all complete
  int64_t num_blocks = 0;           // 0: zeros, and a log-sum-exp of -infinity
  const float* q = nullptr;         // [group, head_dim]
  int64_t group = 1;
  float scale = 1;
  const float* head_bias = nullptr;  // [group]
  float* out = nullptr;              // [group, head_dim]
  float* log_sum_exp = nullptr;      // [group]
};

}  // namespace sieve

#endif  // SIEVE_KERNELS_COMPRESSED_ATTENTION_PARAMS_H_
