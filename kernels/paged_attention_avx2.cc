#include "kernels/paged_attention_avx2.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cache_elements_avx2.h"
#include "kernels/vector_math_avx2.h"

// Online softmax, a page at a time (Milakov and Gimelshein, 2018). Pages are outermost, so that a
// tile of tokens and the heads of a group share each page while it is in the first-level cache;
// what a row computes from a page, and in which order, does not depend on the other rows.

namespace sieve {
namespace {

using avx2::Load8;

constexpr int64_t kPage = kAttentionPageTokens;
constexpr int64_t kLanes = 8;
// From this many rows on a page is expanded to float once instead of at each use.
constexpr int64_t kMinRowsToExpand = 6;

// One query row's state between pages.
struct Row {
  const float* q;
  float* sum;    // [head_dim], not yet divided by total
  float* max;    // of the scores so far
  float* total;  // sum of exp(score - max)
};

// scores[0 .. 63] = scale * q . keys. Keys are [head_dim, 64].
template <class T>
void Scores(const float* q, const T* keys, int64_t head_dim, float scale, float* scores) {
  __m256 s[kPage / kLanes] = {};
  for (int64_t i = 0; i < head_dim; ++i) {
    const __m256 qi = _mm256_broadcast_ss(q + i);
#pragma GCC unroll 8
    for (int64_t j = 0; j < kPage / kLanes; ++j) {
      s[j] = _mm256_fmadd_ps(qi, Load8(keys + i * kPage + j * kLanes), s[j]);
    }
  }
  const __m256 factor = _mm256_set1_ps(scale);
  for (int64_t j = 0; j < kPage / kLanes; ++j) {
    _mm256_store_ps(scores + j * kLanes, _mm256_mul_ps(s[j], factor));
  }
}

float Max(const float* scores) {
  __m256 max = _mm256_load_ps(scores);
  for (int64_t j = kLanes; j < kPage; j += kLanes) {
    max = _mm256_max_ps(max, _mm256_load_ps(scores + j));
  }
  alignas(32) float lanes[kLanes];
  _mm256_store_ps(lanes, max);
  return *std::max_element(lanes, lanes + kLanes);
}

// Replaces scores by exp(score - max) and returns their sum.
float Exponentiate(float* scores, float max) {
  const __m256 m = _mm256_set1_ps(max);
  __m256 total = _mm256_setzero_ps();
  for (int64_t j = 0; j < kPage; j += kLanes) {
    const __m256 e = avx2::Exp(_mm256_sub_ps(_mm256_load_ps(scores + j), m));
    _mm256_store_ps(scores + j, e);
    total = _mm256_add_ps(total, e);
  }
  return avx2::SumLanes(total);
}

// sum[0 .. 8 Vectors) = sum * correction + weights[0 .. valid) . values; values are [valid,
// head_dim].
template <class T, int Vectors>
void AddValues(const float* weights, const T* values, int64_t head_dim, int64_t valid,
               float correction, float* sum) {
  const __m256 c = _mm256_set1_ps(correction);
  __m256 s[Vectors];
  for (int v = 0; v < Vectors; ++v) {
    s[v] = _mm256_mul_ps(_mm256_load_ps(sum + v * kLanes), c);
  }
  for (int64_t j = 0; j < valid; ++j) {
    const __m256 w = _mm256_broadcast_ss(weights + j);
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      s[v] = _mm256_fmadd_ps(w, Load8(values + j * head_dim + v * kLanes), s[v]);
    }
  }
  for (int v = 0; v < Vectors; ++v) _mm256_store_ps(sum + v * kLanes, s[v]);
}

template <class T>
void AddAllValues(const float* weights, const T* values, int64_t head_dim, int64_t valid,
                  float correction, float* sum) {
  int64_t i = 0;
  for (; i + 64 <= head_dim; i += 64) {
    AddValues<T, 8>(weights, values + i, head_dim, valid, correction, sum + i);
  }
  for (; i < head_dim; i += kLanes) {
    AddValues<T, 1>(weights, values + i, head_dim, valid, correction, sum + i);
  }
}

// Takes `valid` keys of a page into a row.
template <class T>
void UpdateRow(const Row& row, const T* keys, const T* values, int64_t head_dim, int64_t valid,
               float scale, float* scores) {
  Scores(row.q, keys, head_dim, scale, scores);
  // Slots past the end hold anything, NaN included.
  for (int64_t j = valid; j < kPage; ++j) scores[j] = -std::numeric_limits<float>::infinity();
  const float max = std::max(*row.max, Max(scores));
  alignas(32) float correction[kLanes];
  _mm256_store_ps(correction, avx2::Exp(_mm256_set1_ps(*row.max - max)));
  const float total = Exponentiate(scores, max);
  *row.total = *row.total * correction[0] + total;
  *row.max = max;
  AddAllValues(scores, values, head_dim, valid, correction[0], row.sum);
}

template <class T>
void Expand(const T* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; i += kLanes) _mm256_store_ps(to + i, Load8(from + i));
}

class Tile {
 public:
  Tile(const PagedAttentionParams& p, float* scratch)
      : p_(p), d_(p.kv.head_dim), heads_(p.head_end - p.head_begin) {
    keys_ = scratch;
    values_ = keys_ + kPage * d_;
    scores_ = values_ + kPage * d_;
    sums_ = scores_ + kPage;
    maxima_ = sums_ + rows() * d_;
    totals_ = maxima_ + rows();
    std::memset(sums_, 0, rows() * d_ * sizeof(float));
    std::fill(maxima_, maxima_ + rows(), -std::numeric_limits<float>::infinity());
    std::fill(totals_, totals_ + rows(), 0.0f);
  }

  template <class T>
  void Run() {
    const int64_t last = (p_.first_position + p_.tokens - 1) / kPage;
    if (p_.blocks == nullptr) {
      for (int64_t block = 0; block <= last; ++block) RunBlock<T>(block, ~uint64_t{0});
    } else {
      for (int64_t i = 0; i < p_.num_blocks; ++i) {
        RunBlock<T>(p_.blocks[i], p_.readers != nullptr ? p_.readers[i] : ~uint64_t{0});
      }
    }
    for (int64_t r = 0; r < rows(); ++r) Finish(r);
  }

 private:
  int64_t rows() const { return p_.tokens * heads_; }

  // Without p_.readers there may be more tokens than bits; all of them read.
  bool Reads(uint64_t readers, int64_t token) const {
    return p_.readers == nullptr || (readers >> token & 1) != 0;
  }

  template <class T>
  void RunBlock(int64_t block, uint64_t readers) {
    const int64_t start = block * kPage;
    const int64_t page = p_.block_table[block];
    const int64_t head = p_.head_begin / p_.group;
    const T* keys = reinterpret_cast<const T*>(p_.kv.keys(page, head));
    const T* values = reinterpret_cast<const T*>(p_.kv.values(page, head));
    // Tokens before this page see nothing of it.
    const int64_t first = std::max<int64_t>(0, start - p_.first_position);
    const int64_t reading = p_.readers != nullptr ? std::popcount(readers) : p_.tokens - first;
    if (reading * heads_ >= kMinRowsToExpand && sizeof(T) < sizeof(float)) {
      Expand(keys, kPage * d_, keys_);
      Expand(values, kPage * d_, values_);
      RunRows<float>(start, first, readers, keys_, values_);
    } else {
      RunRows<T>(start, first, readers, keys, values);
    }
  }

  template <class T>
  void RunRows(int64_t start, int64_t first, uint64_t readers, const T* keys, const T* values) {
    for (int64_t t = first; t < p_.tokens; ++t) {
      if (!Reads(readers, t)) continue;
      const int64_t valid = std::min(kPage, p_.first_position + t + 1 - start);
      for (int64_t h = 0; h < heads_; ++h) {
        const int64_t r = t * heads_ + h;
        const Row row = {p_.q + t * p_.q_stride + (p_.head_begin + h) * d_, sums_ + r * d_,
                         maxima_ + r, totals_ + r};
        UpdateRow<T>(row, keys, values, d_, valid, p_.scale, scores_);
      }
    }
  }

  void Finish(int64_t r) {
    const int64_t token = r / heads_, head = p_.head_begin + r % heads_;
    // The sums of a row that read nothing are zero. NaN is not nothing.
    const __m256 total = _mm256_set1_ps(totals_[r] == 0 ? 1 : totals_[r]);
    float* out = p_.out + token * p_.out_stride + head * d_;
    for (int64_t i = 0; i < d_; i += kLanes) {
      _mm256_storeu_ps(out + i, _mm256_div_ps(_mm256_load_ps(sums_ + r * d_ + i), total));
    }
    if (p_.log_sum_exp == nullptr) return;
    p_.log_sum_exp[token * p_.log_sum_exp_stride + head] = maxima_[r] + std::log(totals_[r]);
  }

  const PagedAttentionParams& p_;
  const int64_t d_;
  const int64_t heads_;
  float *keys_, *values_, *scores_, *sums_, *maxima_, *totals_;
};

}  // namespace

void PagedAttentionAvx2(const PagedAttentionParams& params, float* scratch) {
  Tile tile(params, scratch);
  avx2::WithElementType(params.kv.dtype, [&](auto element) { tile.Run<decltype(element)>(); });
}

}  // namespace sieve
