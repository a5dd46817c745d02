#include "kernels/compressed_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cache_elements.h"
#include "kernels/compressed_attention_avx2.h"
#include "kernels/cpu_features.h"

namespace sieve {

int64_t CompressedAttentionScratchFloats(const SummaryLayout& layout, int64_t group,
                                         int64_t max_blocks) {
  return group * ((max_blocks * layout.entries + 7) / 8 * 8);
}

void CompressedAttentionReference(const CompressedAttentionParams& p) {
  const SummaryLayout& l = p.layout;
  const int64_t d = l.head_dim;
  std::vector<double> logits, sum(d);
  for (int64_t h = 0; h < p.group; ++h) {
    const float* q = p.q + h * d;
    logits.clear();
    double max = -std::numeric_limits<double>::infinity();
    for (int64_t i = 0; i < p.num_blocks; ++i) {
      const char* summary = p.summaries.of(p.block_table[p.blocks[i]], p.kv_head);
      const float* biases = reinterpret_cast<const float*>(summary + l.entry_biases);
      for (int64_t e = 0; e < l.entries; ++e) {
        double dot = 0;
        for (int64_t c = 0; c < d; ++c) {
          dot +=
              static_cast<double>(q[c]) * LoadElement(summary + l.entry_keys, l.dtype, e * d + c);
        }
        logits.push_back(p.scale * dot + (l.entry_biases >= 0 ? biases[e] : 0) + p.head_bias[h]);
        max = std::max(max, logits.back());
      }
    }
    double total = 0;
    std::fill(sum.begin(), sum.end(), 0);
    for (size_t n = 0; n < logits.size(); ++n) {
      const char* summary =
          p.summaries.of(p.block_table[p.blocks[n / l.entries]], p.kv_head) + l.entry_values;
      const int64_t entry = static_cast<int64_t>(n) % l.entries;
      const double weight = std::exp(logits[n] - max);
      total += weight;
      for (int64_t c = 0; c < d; ++c) {
        sum[c] += weight * LoadElement(summary, l.dtype, entry * d + c);
      }
    }
    const double divisor = logits.empty() ? 1 : total;
    for (int64_t c = 0; c < d; ++c) p.out[h * d + c] = static_cast<float>(sum[c] / divisor);
    p.log_sum_exp[h] = static_cast<float>(max + std::log(total));
  }
}

void CompressedAttention(const CompressedAttentionParams& params, float* scratch) {
  if (HasAvx2() && params.layout.head_dim % 8 == 0) {
    CompressedAttentionAvx2(params, scratch);
  } else {
    CompressedAttentionReference(params);
  }
}

}  // namespace sieve
