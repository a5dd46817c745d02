#include "kernels/paged_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cache_elements.h"
#include "kernels/cpu_features.h"
#include "kernels/paged_attention_avx2.h"

namespace sieve {
void WriteKv(const PagedKvView& view, int64_t page, int64_t head, int64_t slot, const float* key,
             const float* value) {
  char* keys = view.keys(page, head);
  char* values = view.values(page, head);
  for (int64_t i = 0; i < view.head_dim; ++i) {
    StoreElement(keys, view.dtype, i * kAttentionPageTokens + slot, key[i]);
    StoreElement(values, view.dtype, slot * view.head_dim + i, value[i]);
  }
}

namespace {

// Positions that token t reads, ascending.
std::vector<int64_t> PositionsRead(const PagedAttentionParams& p, int64_t t) {
  const int64_t position = p.first_position + t;
  const int64_t all = (p.first_position + p.tokens - 1) / kAttentionPageTokens + 1;
  std::vector<int64_t> positions;
  for (int64_t i = 0; i < (p.blocks != nullptr ? p.num_blocks : all); ++i) {
    if (p.readers != nullptr && (p.readers[i] >> t & 1) == 0) continue;
    const int64_t start = (p.blocks != nullptr ? p.blocks[i] : i) * kAttentionPageTokens;
    for (int64_t j = start; j <= std::min(position, start + kAttentionPageTokens - 1); ++j) {
      positions.push_back(j);
    }
  }
  return positions;
}

}  // namespace

void PagedAttentionReference(const PagedAttentionParams& p, float*) {
  const int64_t d = p.kv.head_dim;
  std::vector<double> scores, sum(d);
  for (int64_t t = 0; t < p.tokens; ++t) {
    const std::vector<int64_t> positions = PositionsRead(p, t);
    for (int64_t h = p.head_begin; h < p.head_end; ++h) {
      const float* q = p.q + t * p.q_stride + h * d;
      scores.assign(positions.size(), 0);
      double max = -std::numeric_limits<double>::infinity();
      for (size_t n = 0; n < positions.size(); ++n) {
        const int64_t j = positions[n];
        const char* keys = p.kv.keys(p.block_table[j / kAttentionPageTokens], h / p.group);
        for (int64_t i = 0; i < d; ++i) {
          const int64_t index = i * kAttentionPageTokens + j % kAttentionPageTokens;
          scores[n] += static_cast<double>(q[i]) * LoadElement(keys, p.kv.dtype, index);
        }
        scores[n] *= p.scale;
        max = std::max(max, scores[n]);
      }
      double total = 0;
      std::fill(sum.begin(), sum.end(), 0);
      for (size_t n = 0; n < positions.size(); ++n) {
        const int64_t j = positions[n];
        const double weight = std::exp(scores[n] - max);
        total += weight;
        const char* values = p.kv.values(p.block_table[j / kAttentionPageTokens], h / p.group);
        for (int64_t i = 0; i < d; ++i) {
          sum[i] += weight * LoadElement(values, p.kv.dtype, j % kAttentionPageTokens * d + i);
        }
      }
      float* out = p.out + t * p.out_stride + h * d;
      const double divisor = positions.empty() ? 1 : total;
      for (int64_t i = 0; i < d; ++i) out[i] = static_cast<float>(sum[i] / divisor);
      if (p.log_sum_exp != nullptr) {
        p.log_sum_exp[t * p.log_sum_exp_stride + h] = static_cast<float>(max + std::log(total));
      }
    }
  }
}

int64_t PagedAttentionScratchFloats(int64_t tokens, int64_t heads, int64_t head_dim) {
  // A page of keys and of values, a row of scores, and for each row its sum, maximum and total.
  return 2 * kAttentionPageTokens * head_dim + kAttentionPageTokens +
         tokens * heads * (head_dim + 8);
}

void PagedAttention(const PagedAttentionParams& params, float* scratch) {
  if (HasAvx2() && params.kv.head_dim % 8 == 0) {
    PagedAttentionAvx2(params, scratch);
  } else {
    PagedAttentionReference(params, scratch);
  }
}

}  // namespace sieve
