#include "kernels/block_compress.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "kernels/cache_elements.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"

namespace sieve {
namespace {

constexpr int64_t kTokens = kAttentionPageTokens;

using MatMulFn = void (*)(const MatMulParams&, float*);

// Of doubles: two rows of d, and one number for each token and each channel of the index.
int64_t NumDoubles(const SummaryLayout& l) { return 2 * l.head_dim + kTokens + l.index_rank; }

int64_t Rounded(int64_t floats) { return (floats + 7) / 8 * 8; }

class Block {
 public:
  Block(const BlockCompressParams& p, MatMulFn matmul, float* scratch)
      : p_(p), l_(p.layout), d_(l_.head_dim), matmul_(matmul) {
    keys_ = scratch;
    values_ = keys_ + Rounded(kTokens * d_);
    inputs_ = values_ + Rounded(kTokens * d_);
    outputs_ = inputs_ + Rounded(kTokens * d_);
    inner_ = outputs_ + Rounded(kTokens * d_);
    double* doubles = reinterpret_cast<double*>(
        inner_ + Rounded(l_.entries * std::max(p.keys.inner, p.values.inner)));
    row_ = doubles;
    value_row_ = row_ + d_;
    weights_ = value_row_ + d_;
    sums_ = weights_ + kTokens;
    matmul_scratch_ = reinterpret_cast<float*>(doubles) + Rounded(2 * NumDoubles(l_));
    for (int64_t j = 0; j < kTokens; ++j) {
      for (int64_t i = 0; i < d_; ++i) {
        keys_[j * d_ + i] = LoadElement(p.kv.keys(p.page, p.kv_head), p.kv.dtype, i * kTokens + j);
        values_[j * d_ + i] = LoadElement(p.kv.values(p.page, p.kv_head), p.kv.dtype, j * d_ + i);
      }
    }
  }

  void Run() {
    if (l_.max >= 0) Store(l_.max, 0, Extreme(keys_, kTokens, 1));
    if (l_.min >= 0) Store(l_.min, 0, Extreme(keys_, kTokens, -1));
    if (l_.mean >= 0) Store(l_.mean, 0, Mean(keys_, kTokens));
    if (l_.index_codes >= 0) Index(Mean(keys_, kTokens));
    if (l_.entries > 0) Entries();
    if (l_.gate >= 0) Gate();
  }

 private:
  // rows: [count, d]. The result, in row_, is there until the next one.
  const double* Mean(const float* rows, int64_t count) {
    std::fill(row_, row_ + d_, 0);
    for (int64_t j = 0; j < count; ++j) {
      for (int64_t i = 0; i < d_; ++i) row_[i] += rows[j * d_ + i];
    }
    for (int64_t i = 0; i < d_; ++i) row_[i] /= static_cast<double>(count);
    return row_;
  }

  // The maximum by channel with sign 1, the minimum with -1; in row_ as well.
  const double* Extreme(const float* rows, int64_t count, double sign) {
    std::copy(rows, rows + d_, row_);
    for (int64_t j = 1; j < count; ++j) {
      for (int64_t i = 0; i < d_; ++i) {
        row_[i] = sign * std::max(sign * row_[i], sign * rows[j * d_ + i]);
      }
    }
    return row_;
  }

  template <class Number>
  void Store(int64_t part, int64_t row, const Number* values) const {
    for (int64_t i = 0; i < d_; ++i) {
      StoreValue(part, row * d_ + i, static_cast<float>(values[i]));
    }
  }

  // What is larger than the type's largest becomes that: an infinity would make the block's scores
  // and the output NaN. NaN stays.
  void StoreValue(int64_t part, int64_t i, float value) const {
    const float most = l_.dtype == DType::kF16    ? 65504.0f
                       : l_.dtype == DType::kBF16 ? 0x1.fep127f
                                                  : std::numeric_limits<float>::max();
    StoreElement(p_.summary + part, l_.dtype, i,
                 value > most    ? most
                 : value < -most ? -most
                                 : value);
  }

  void StoreFloat(int64_t part, int64_t i, float value) const {
    reinterpret_cast<float*>(p_.summary + part)[i] = value;
  }

  // c_j = W_k^T (k_j - mean), channel by channel.
  void Index(const double* mean) {
    const int64_t rank = l_.index_rank;
    float* codes = inputs_;  // [rank, 64]; rank <= d
    for (int64_t j = 0; j < kTokens; ++j) {
      std::fill(sums_, sums_ + rank, 0);
      for (int64_t i = 0; i < d_; ++i) {
        const double x = keys_[j * d_ + i] - mean[i];
        for (int64_t r = 0; r < rank; ++r) sums_[r] += x * p_.index_k[i * rank + r];
      }
      for (int64_t r = 0; r < rank; ++r) codes[r * kTokens + j] = static_cast<float>(sums_[r]);
    }
    for (int64_t r = 0; r < rank; ++r) {
      if (l_.index_bits == 16) {
        for (int64_t j = r * kTokens; j < (r + 1) * kTokens; ++j) {
          StoreValue(l_.index_codes, j, codes[j]);
        }
      } else {
        Quantize(codes + r * kTokens, r);
      }
    }
  }

  void Quantize(const float* c, int64_t channel) const {
    const float lo = *std::min_element(c, c + kTokens);
    const float step = (*std::max_element(c, c + kTokens) - lo) / 15;
    StoreFloat(l_.index_lo, channel, lo);
    StoreFloat(l_.index_step, channel, step);
    uint8_t* codes =
        reinterpret_cast<uint8_t*>(p_.summary + l_.index_codes) + channel * kTokens / 2;
    // The compiler's default rounding is to the nearest, half to even. NaN becomes 0.
    const auto code = [&](float x) {
      const float steps = step > 0 ? std::nearbyint((x - lo) / step) : 0;
      return steps > 0 ? static_cast<uint8_t>(std::min(steps, 15.0f)) : uint8_t{0};
    };
    for (int64_t j = 0; j < kTokens; j += 2) {
      codes[j / 2] = static_cast<uint8_t>(code(c[j]) | code(c[j + 1]) << 4);
    }
  }

  void Entries() {
    const int64_t tokens = kTokens / l_.entries;
    if (p_.tilt != nullptr) {
      for (int64_t e = 0; e < l_.entries; ++e) Tilted(e, tokens);
      if (p_.values.up != nullptr && l_.entry_values >= 0) {
        Mlp(p_.values, values_, l_.entry_values, tokens);
      }
      return;
    }
    Pooled(p_.keys, keys_, l_.entry_keys, tokens);
    if (l_.entry_values >= 0) Pooled(p_.values, values_, l_.entry_values, tokens);
  }

  void Tilted(int64_t e, int64_t tokens) {
    const double scale = 1 / std::sqrt(static_cast<double>(d_));
    const float* keys = keys_ + e * tokens * d_;
    const float* values = values_ + e * tokens * d_;
    for (int64_t j = 0; j < tokens; ++j) {
      weights_[j] = 0;
      for (int64_t i = 0; i < d_; ++i) {
        weights_[j] += static_cast<double>(p_.tilt[i]) * keys[j * d_ + i];
      }
      weights_[j] *= scale;
    }
    const double max = *std::max_element(weights_, weights_ + tokens);
    double total = 0;
    for (int64_t j = 0; j < tokens; ++j) total += weights_[j] = std::exp(weights_[j] - max);
    double *key = row_, *value = value_row_;
    std::fill(key, key + d_, 0);
    std::fill(value, value + d_, 0);
    for (int64_t j = 0; j < tokens; ++j) {
      for (int64_t i = 0; i < d_; ++i) {
        key[i] += weights_[j] / total * keys[j * d_ + i];
        value[i] += weights_[j] / total * values[j * d_ + i];
      }
    }
    double tilted = 0;
    for (int64_t i = 0; i < d_; ++i) tilted += p_.tilt[i] * key[i];
    Store(l_.entry_keys, e, key);
    if (l_.entry_values >= 0) StoreTilted(e, value);
    StoreFloat(l_.entry_biases, e, static_cast<float>(max + std::log(total) - scale * tilted));
  }

  // Where an MLP adds to it, a value is rounded once: it waits in outputs_.
  void StoreTilted(int64_t e, const double* value) {
    if (p_.values.up == nullptr) return Store(l_.entry_values, e, value);
    for (int64_t i = 0; i < d_; ++i) outputs_[e * d_ + i] = static_cast<float>(value[i]);
  }

  void Pooled(const EntryParams& side, const float* rows, int64_t part, int64_t tokens) {
    AddPositions(side, rows, tokens);
    for (int64_t e = 0; e < l_.entries; ++e) {
      const float* own = inputs_ + e * tokens * d_;
      const double* pooled = side.max ? Extreme(own, tokens, 1) : Mean(own, tokens);
      if (side.up == nullptr) {
        Store(part, e, pooled);
      } else {
        for (int64_t i = 0; i < d_; ++i) outputs_[e * d_ + i] = static_cast<float>(pooled[i]);
      }
    }
    if (side.up != nullptr) Mlp(side, rows, part, tokens);
  }

  // inputs_ = rows + positions.
  void AddPositions(const EntryParams& side, const float* rows, int64_t tokens) {
    std::copy(rows, rows + kTokens * d_, inputs_);
    if (side.position == nullptr) return;
    for (int64_t i = 0; i < kTokens * d_; ++i) inputs_[i] += side.position[i % (tokens * d_)];
  }

  // Stores outputs_ + down . gelu(up . (rows + positions)).
  void Mlp(const EntryParams& side, const float* rows, int64_t part, int64_t tokens) {
    AddPositions(side, rows, tokens);
    MatMulParams up = {.weights = {side.up, DType::kF32, side.inner, tokens * d_},
                       .x = inputs_,
                       .x_stride = tokens * d_,
                       .tokens = l_.entries,
                       .y = inner_,
                       .y_stride = side.inner,
                       .row_end = side.inner};
    matmul_(up, matmul_scratch_);
    for (int64_t i = 0; i < l_.entries * side.inner; ++i) {
      const double x = inner_[i];
      inner_[i] = static_cast<float>(x / 2 * (1 + std::erf(x / std::numbers::sqrt2)));
    }
    MatMulParams down = {.weights = {side.down, DType::kF32, d_, side.inner},
                         .x = inner_,
                         .x_stride = side.inner,
                         .tokens = l_.entries,
                         .y = outputs_,
                         .y_stride = d_,
                         .accumulate = true,
                         .row_end = d_};
    matmul_(down, matmul_scratch_);
    for (int64_t e = 0; e < l_.entries; ++e) {
      Store(part, e, outputs_ + e * d_);
    }
  }

  // Turns the keys in place: last.
  void Gate() {
    const int64_t half = d_ / 2;
    for (int64_t j = 0; j < kTokens; ++j) {
      RotateBack(keys_ + j * d_, 1, d_, p_.cosines + j * half, p_.sines + j * half, p_.interleaved);
    }
    float* features = inputs_;  // [3, d]
    const auto add = [this, &features](const double* part) {
      for (int64_t i = 0; i < d_; ++i) *features++ = static_cast<float>(part[i]);
    };
    add(Mean(keys_, kTokens));
    add(Extreme(keys_, kTokens, 1));
    add(Extreme(keys_, kTokens, -1));
    MatMulParams product = {.weights = {p_.gate_k, DType::kF32, d_, 3 * d_},
                            .x = inputs_,
                            .x_stride = 3 * d_,
                            .tokens = 1,
                            .y = outputs_,
                            .y_stride = d_,
                            .row_end = d_};
    matmul_(product, matmul_scratch_);
    ApplyRope(outputs_, 1, d_, p_.cosines, p_.sines, p_.interleaved);
    Store(l_.gate, 0, outputs_);
  }

  const BlockCompressParams& p_;
  const SummaryLayout& l_;
  const int64_t d_;
  const MatMulFn matmul_;
  float *keys_, *values_;     // [64, d]
  float *inputs_, *outputs_;  // of the products
  float* inner_;              // [entries, inner]
  double *row_, *value_row_;  // [d]
  double* weights_;           // [64], of tokens
  double* sums_;              // [index_rank]
  float* matmul_scratch_;
};

}  // namespace

int64_t BlockCompressScratchFloats(const SummaryLayout& layout, int64_t inner) {
  const int64_t d = layout.head_dim;
  const int64_t cols =
      std::max({3 * d, inner, layout.entries > 0 ? kTokens / layout.entries * d : 0});
  return 4 * Rounded(kTokens * d) + Rounded(layout.entries * inner) +
         Rounded(2 * NumDoubles(layout)) + MatMulScratchFloats(cols);
}

void CompressBlock(const BlockCompressParams& params, float* scratch) {
  Block(params, MatMul, scratch).Run();
}

void CompressBlockReference(const BlockCompressParams& params, float* scratch) {
  Block(params, MatMulReference, scratch).Run();
}

}  // namespace sieve
