#include "kernels/compressed_attention_avx2.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cache_elements_avx2.h"
#include "kernels/vector_math_avx2.h"

// Two passes: the logits of all entries, then the weighted sum of their values.

namespace sieve {
namespace {

using avx2::Load8;

constexpr int64_t kLanes = 8;

template <class T>
class Token {
 public:
  Token(const CompressedAttentionParams& p, float* scratch)
      : p_(p),
        d_(p.layout.head_dim),
        count_(p.num_blocks * p.layout.entries),
        stride_((count_ + kLanes - 1) / kLanes * kLanes),
        logits_(scratch) {}

  void Run() {
    for (int64_t i = 0; i < p_.num_blocks; ++i) BlockLogits(i);
    for (int64_t h = 0; h < p_.group; ++h) Exponentiate(h);
    std::fill(p_.out, p_.out + p_.group * d_, 0.0f);
    for (int64_t i = 0; i < p_.num_blocks; ++i) AddValues(i);
  }

 private:
  const char* Summary(int64_t i) const {
    return p_.summaries.of(p_.block_table[p_.blocks[i]], p_.kv_head);
  }

  void BlockLogits(int64_t i) {
    const SummaryLayout& l = p_.layout;
    const char* summary = Summary(i);
    for (int64_t e = 0; e < l.entries; ++e) {
      const T* key = reinterpret_cast<const T*>(summary + l.entry_keys) + e * d_;
      const float bias =
          l.entry_biases >= 0 ? reinterpret_cast<const float*>(summary + l.entry_biases)[e] : 0;
      for (int64_t h = 0; h < p_.group; ++h) {
        __m256 sum = _mm256_setzero_ps();
        for (int64_t c = 0; c < d_; c += kLanes) {
          sum = _mm256_fmadd_ps(_mm256_loadu_ps(p_.q + h * d_ + c), Load8(key + c), sum);
        }
        logits_[h * stride_ + i * l.entries + e] =
            p_.scale * avx2::SumLanes(sum) + bias + p_.head_bias[h];
      }
    }
  }

  // Replaces the logits of a head by their softmax.
  void Exponentiate(int64_t h) {
    constexpr float kNothing = -std::numeric_limits<float>::infinity();
    float* logits = logits_ + h * stride_;
    std::fill(logits + count_, logits + stride_, kNothing);
    float max = kNothing;
    for (int64_t n = 0; n < count_; ++n) max = std::max(max, logits[n]);
    const __m256 m = _mm256_set1_ps(max);
    __m256 sums = _mm256_setzero_ps();
    for (int64_t n = 0; n < stride_; n += kLanes) {
      const __m256 e = avx2::Exp(_mm256_sub_ps(_mm256_load_ps(logits + n), m));
      _mm256_store_ps(logits + n, e);
      sums = _mm256_add_ps(sums, e);
    }
    const float total = avx2::SumLanes(sums);
    p_.log_sum_exp[h] = max + std::log(total);
    const __m256 divisor = _mm256_set1_ps(total);
    for (int64_t n = 0; n < stride_; n += kLanes) {
      _mm256_store_ps(logits + n, _mm256_div_ps(_mm256_load_ps(logits + n), divisor));
    }
  }

  void AddValues(int64_t i) {
    const SummaryLayout& l = p_.layout;
    const T* values = reinterpret_cast<const T*>(Summary(i) + l.entry_values);
    for (int64_t e = 0; e < l.entries; ++e, values += d_) {
      for (int64_t h = 0; h < p_.group; ++h) {
        const __m256 w = _mm256_broadcast_ss(logits_ + h * stride_ + i * l.entries + e);
        for (int64_t c = 0; c < d_; c += kLanes) {
          float* out = p_.out + h * d_ + c;
          _mm256_storeu_ps(out, _mm256_fmadd_ps(w, Load8(values + c), _mm256_loadu_ps(out)));
        }
      }
    }
  }

  const CompressedAttentionParams& p_;
  const int64_t d_;
  const int64_t count_;
  const int64_t stride_;
  float* const logits_;  // [group, stride]
};

}  // namespace

void CompressedAttentionAvx2(const CompressedAttentionParams& params, float* scratch) {
  avx2::WithElementType(params.layout.dtype,
                        [&](auto element) { Token<decltype(element)>(params, scratch).Run(); });
}

}  // namespace sieve
