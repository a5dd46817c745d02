#include "kernels/paged_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu_features.h"
#include "kernels/float16.h"
#include "kernels/paged_attention_avx2.h"

namespace sieve {
namespace {

float LoadElement(const char* base, DType dtype, int64_t index) {
  switch (dtype) {
    case DType::kF16:
      return HalfToFloat(reinterpret_cast<const uint16_t*>(base)[index]);
    case DType::kBF16:
      return BFloat16ToFloat(reinterpret_cast<const uint16_t*>(base)[index]);
    default:
      return reinterpret_cast<const float*>(base)[index];
  }
}

void StoreElement(char* base, DType dtype, int64_t index, float value) {
  switch (dtype) {
    case DType::kF16:
      reinterpret_cast<uint16_t*>(base)[index] = FloatToHalf(value);
      return;
    case DType::kBF16:
      reinterpret_cast<uint16_t*>(base)[index] = FloatToBFloat16(value);
      return;
    default:
      reinterpret_cast<float*>(base)[index] = value;
  }
}

}  // namespace

void WriteKv(const PagedKvView& view, int64_t page, int64_t head, int64_t slot, const float* key,
             const float* value) {
  char* keys = view.keys(page, head);
  char* values = view.values(page, head);
  for (int64_t i = 0; i < view.head_dim; ++i) {
    StoreElement(keys, view.dtype, i * kAttentionPageTokens + slot, key[i]);
    StoreElement(values, view.dtype, slot * view.head_dim + i, value[i]);
  }
}

void PagedAttentionReference(const PagedAttentionParams& p, float*) {
  const int64_t d = p.kv.head_dim;
  std::vector<double> scores, sum(d);
  for (int64_t t = 0; t < p.tokens; ++t) {
    const int64_t length = p.first_position + t + 1;
    for (int64_t h = p.head_begin; h < p.head_end; ++h) {
      const float* q = p.q + t * p.q_stride + h * d;
      scores.assign(length, 0);
      double max = -std::numeric_limits<double>::infinity();
      for (int64_t j = 0; j < length; ++j) {
        const char* keys = p.kv.keys(p.block_table[j / kAttentionPageTokens], h / p.group);
        for (int64_t i = 0; i < d; ++i) {
          const int64_t index = i * kAttentionPageTokens + j % kAttentionPageTokens;
          scores[j] += static_cast<double>(q[i]) * LoadElement(keys, p.kv.dtype, index);
        }
        scores[j] *= p.scale;
        max = std::max(max, scores[j]);
      }
      double total = 0;
      std::fill(sum.begin(), sum.end(), 0);
      for (int64_t j = 0; j < length; ++j) {
        const double weight = std::exp(scores[j] - max);
        total += weight;
        const char* values = p.kv.values(p.block_table[j / kAttentionPageTokens], h / p.group);
        for (int64_t i = 0; i < d; ++i) {
          sum[i] += weight * LoadElement(values, p.kv.dtype, j % kAttentionPageTokens * d + i);
        }
      }
      float* out = p.out + t * p.out_stride + h * d;
      for (int64_t i = 0; i < d; ++i) out[i] = static_cast<float>(sum[i] / total);
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
