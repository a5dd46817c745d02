#include "kernels/block_scores_avx2.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cache_elements_avx2.h"
#include "kernels/vector_math_avx2.h"

namespace sieve {
namespace {

using avx2::Load8;
using avx2::SumLanes;

constexpr int64_t kTokens = 64;  // of a block
constexpr int64_t kLanes = 8;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <class T>
const T* Part(const char* summary, int64_t offset) {
  return reinterpret_cast<const T*>(summary + offset);
}

template <class T>
float Dot(const float* q, const T* row, int64_t n) {
  __m256 sum = _mm256_setzero_ps();
  for (int64_t i = 0; i < n; i += kLanes) {
    sum = _mm256_fmadd_ps(_mm256_loadu_ps(q + i), Load8(row + i), sum);
  }
  return SumLanes(sum);
}

template <class T>
float Quest(const float* q, const T* min, const T* max, int64_t n) {
  __m256 sum = _mm256_setzero_ps();
  for (int64_t i = 0; i < n; i += kLanes) {
    const __m256 x = _mm256_loadu_ps(q + i);
    sum = _mm256_add_ps(
        sum, _mm256_max_ps(_mm256_mul_ps(x, Load8(min + i)), _mm256_mul_ps(x, Load8(max + i))));
  }
  return SumLanes(sum);
}

float LogSumExp(const float* logits, int64_t n) {
  const float max = *std::max_element(logits, logits + n);
  float total = 0;
  for (int64_t i = 0; i < n; ++i) total += std::exp(logits[i] - max);
  return max + std::log(total);
}

template <class T>
float Compressed(const SummaryLayout& layout, const char* summary, const float* q, float scale) {
  float logits[kTokens] = {};
  const T* keys = Part<T>(summary, layout.entry_keys);
  for (int64_t e = 0; e < layout.entries; ++e) {
    logits[e] = scale * Dot(q, keys + e * layout.head_dim, layout.head_dim);
    if (layout.entry_biases >= 0) logits[e] += Part<float>(summary, layout.entry_biases)[e];
  }
  return LogSumExp(logits, layout.entries);
}

// Writes c[index_rank, 64]; of codes, the even tokens of each sixteen before the odd ones, for the
// order of tokens does not matter here.
template <class T>
void DecodeIndex(const SummaryLayout& layout, const char* summary, float* c) {
  if (layout.index_bits == 16) {
    const T* codes = Part<T>(summary, layout.index_codes);
    for (int64_t i = 0; i < layout.index_rank * kTokens; i += kLanes) {
      _mm256_store_ps(c + i, Load8(codes + i));
    }
    return;
  }
  const float* lo = Part<float>(summary, layout.index_lo);
  const float* step = Part<float>(summary, layout.index_step);
  const char* codes = summary + layout.index_codes;
  const __m256i low_bits = _mm256_set1_epi32(0xf);
  for (int64_t i = 0; i < layout.index_rank; ++i) {
    const __m256 l = _mm256_set1_ps(lo[i]), s = _mm256_set1_ps(step[i]);
    for (int64_t j = 0; j < kTokens; j += 2 * kLanes, codes += kLanes, c += 2 * kLanes) {
      const __m256i two =
          _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes)));
      const __m256 even = _mm256_cvtepi32_ps(_mm256_and_si256(two, low_bits));
      const __m256 odd = _mm256_cvtepi32_ps(_mm256_srli_epi32(two, 4));
      _mm256_store_ps(c, _mm256_fmadd_ps(s, even, l));
      _mm256_store_ps(c + kLanes, _mm256_fmadd_ps(s, odd, l));
    }
  }
}

// log sum_j exp(scale * (mean + projected . c_j)).
float Index(float mean, const float* projected, int64_t rank, const float* c, float scale) {
  __m256 s[kTokens / kLanes];
  for (__m256& v : s) v = _mm256_set1_ps(mean);
  for (int64_t i = 0; i < rank; ++i, c += kTokens) {
    const __m256 p = _mm256_broadcast_ss(projected + i);
#pragma GCC unroll 8
    for (int64_t v = 0; v < kTokens / kLanes; ++v) {
      s[v] = _mm256_fmadd_ps(p, _mm256_load_ps(c + v * kLanes), s[v]);
    }
  }
  __m256 max = s[0];
  for (const __m256& v : s) max = _mm256_max_ps(max, v);
  alignas(32) float lanes[kLanes];
  _mm256_store_ps(lanes, max);
  const __m256 top = _mm256_set1_ps(*std::max_element(lanes, lanes + kLanes));
  const __m256 factor = _mm256_set1_ps(scale);
  __m256 total = _mm256_setzero_ps();
  for (const __m256& v : s) {
    total = _mm256_add_ps(total, avx2::Exp(_mm256_mul_ps(factor, _mm256_sub_ps(v, top))));
  }
  return scale * _mm256_cvtss_f32(top) + std::log(SumLanes(total));
}

template <class T>
class Scorer {
 public:
  Scorer(const BlockScoreParams& p, float* scratch) : p_(p), index_(scratch) {}

  void Run() {
    for (int64_t b = p_.begin; b < p_.end; ++b) {
      const char* summary = p_.summaries.of(p_.block_table[b], p_.kv_head);
      if (p_.score == BlockScore::kIndex) DecodeIndex<T>(p_.layout, summary, index_);
      for (int64_t t = 0; t < p_.tokens; ++t) {
        for (int64_t h = 0; h < p_.group; ++h) {
          p_.logits[(t * p_.group + h) * p_.logit_stride + b - p_.begin] = Logit(summary, t, h);
        }
      }
    }
  }

 private:
  float Logit(const char* summary, int64_t t, int64_t h) const {
    const SummaryLayout& l = p_.layout;
    const int64_t d = l.head_dim;
    const float* q = p_.q + t * p_.q_stride + h * d;
    const auto dot = [&](int64_t part) { return Dot(q, Part<T>(summary, part), d); };
    const auto quest = [&] {
      return Quest(q, Part<T>(summary, l.min), Part<T>(summary, l.max), d);
    };
    switch (p_.score) {
      case BlockScore::kMean:
        return p_.scale * dot(l.mean);
      case BlockScore::kMax:
        return p_.scale * dot(l.max);
      case BlockScore::kQuest:
        return p_.scale * quest();
      case BlockScore::kQuestMean:
        return p_.scale * 0.5f * (quest() + dot(l.mean));
      case BlockScore::kCompressed:
        return Compressed<T>(l, summary, q, p_.scale);
      case BlockScore::kIndex:
        return Index(dot(l.mean), p_.projected + (t * p_.group + h) * l.index_rank, l.index_rank,
                     index_, p_.scale);
      case BlockScore::kGate:
        return p_.scale * Dot(p_.projected + t * d, Part<T>(summary, l.gate), d);
    }
    return 0;
  }

  const BlockScoreParams& p_;
  float* const index_;
};

}  // namespace

void BlockLogitsAvx2(const BlockScoreParams& params, float* scratch) {
  avx2::WithElementType(params.layout.dtype,
                        [&](auto element) { Scorer<decltype(element)>(params, scratch).Run(); });
}

void AddProbabilitiesAvx2(float* logits, int64_t rows, int64_t stride, int64_t count,
                          float* scores) {
  for (int64_t r = 0; r < rows; ++r, logits += stride) {
    float max = -kInfinity;
    for (int64_t b = 0; b < count; ++b) max = std::max(max, logits[b]);
    const __m256 m = _mm256_set1_ps(max);
    __m256 sums = _mm256_setzero_ps();
    int64_t b = 0;
    for (; b + kLanes <= count; b += kLanes) {
      const __m256 e = avx2::Exp(_mm256_sub_ps(_mm256_loadu_ps(logits + b), m));
      _mm256_storeu_ps(logits + b, e);
      sums = _mm256_add_ps(sums, e);
    }
    // The last blocks in the same way: equal logits are to give equal scores, wherever they stand.
    if (b < count) {
      alignas(32) float rest[kLanes];
      std::fill(rest, rest + kLanes, -kInfinity);
      std::copy(logits + b, logits + count, rest);
      // Whose exponential is 0.
      const __m256 e = avx2::Exp(_mm256_sub_ps(_mm256_load_ps(rest), m));
      _mm256_store_ps(rest, e);
      std::copy(rest, rest + count - b, logits + b);
      sums = _mm256_add_ps(sums, e);
    }
    const float total = SumLanes(sums);
    for (b = 0; b < count; ++b) scores[b] += logits[b] / total;
  }
}

}  // namespace sieve
