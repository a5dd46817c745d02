#ifndef SIEVE_KERNELS_BLOCK_SCORES_PARAMS_H_
#define SIEVE_KERNELS_BLOCK_SCORES_PARAMS_H_

#include <cstdint>

#include "kernels/block_summary.h"

namespace sieve {

// How a block's summary and a query make a logit; docs/adapters.md has the formulas.
enum class BlockScore { kMean, kMax, kQuest, kQuestMean, kCompressed, kIndex, kGate };

// Logits of consecutive blocks for some tokens' query heads of one key/value head.
struct BlockScoreParams {
  BlockScore score = BlockScore::kMean;
  SummaryLayout layout{};  // has what the score reads
  SummaryView summaries{};
  int64_t kv_head = 0;
  const int32_t* block_table = nullptr;
  int64_t begin = 0;  // blocks, all complete
  int64_t end = 0;
  const float* q = nullptr;  // [tokens, group, head_dim], RoPE applied
  int64_t q_stride = 0;      // floats from token to token
  int64_t tokens = 0;
  int64_t group = 1;
  // kIndex: [tokens, group, index_rank], the queries in the index; kGate: [tokens, head_dim], the
  // gate's vector of the token, rotated.
  const float* projected = nullptr;
  float scale = 1;
  float* logits = nullptr;   // [tokens, group, end - begin]
  int64_t logit_stride = 0;  // floats from head to head
};

}  // namespace sieve

#endif  // SIEVE_KERNELS_BLOCK_SCORES_PARAMS_H_
