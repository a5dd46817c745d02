#include "kernels/block_log_sum_exp.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

namespace sieve {
namespace {

constexpr int64_t kBlock = 64;

using Logits = std::array<double, kBlock>;

Logits LogitsOf(const float* q, const float* keys, int64_t width) {
  Logits logits = {};
  for (int64_t j = 0; j < kBlock; ++j) {
    for (int64_t i = 0; i < width; ++i) {
      logits[j] += static_cast<double>(q[i]) * static_cast<double>(keys[j * width + i]);
    }
  }
  return logits;
}

double LogSumExp(const Logits& logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double x : logits) sum += std::exp(x - top);
  return top + std::log(sum);
}

// visit(row of the batch's rows, its block, first key of that) for all that are computed.
void ForEach(const BlockLogSumExpShape& s,
             const std::function<void(int64_t row, int64_t n, int64_t key)>& visit) {
  for (int64_t row = 0; row < s.batch * s.rows; ++row) {
    const int64_t own = (s.begin + row % s.rows % s.positions) / kBlock;
    for (int64_t n = 0; n < std::min(own, s.blocks); ++n) {
      visit(row, n, (row / s.rows * s.blocks + n) * kBlock);
    }
  }
}

}  // namespace

std::vector<double> BlockLogSumExpReference(const BlockLogSumExpShape& s, const float* q,
                                            const float* k) {
  std::vector<double> out(s.batch * s.rows * s.blocks);
  ForEach(s, [&](int64_t row, int64_t n, int64_t key) {
    out[row * s.blocks + n] = LogSumExp(LogitsOf(q + row * s.width, k + key * s.width, s.width));
  });
  return out;
}

void BlockLogSumExpGradientReference(const BlockLogSumExpShape& s, const float* q, const float* k,
                                     const float* gradient, double* q_gradient,
                                     double* k_gradient) {
  ForEach(s, [&](int64_t row, int64_t n, int64_t key) {
    const Logits logits = LogitsOf(q + row * s.width, k + key * s.width, s.width);
    const double total = LogSumExp(logits);
    for (int64_t j = 0; j < kBlock; ++j) {
      const double weight = gradient[row * s.blocks + n] * std::exp(logits[j] - total);
      for (int64_t i = 0; i < s.width; ++i) {
        q_gradient[row * s.width + i] += weight * k[(key + j) * s.width + i];
        k_gradient[(key + j) * s.width + i] += weight * q[row * s.width + i];
      }
    }
  });
}

}  // namespace sieve
