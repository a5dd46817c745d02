#include "kernels/merge.h"

#include <algorithm>
#include <cmath>

namespace sieve {

void Softmax(double* log_weights, int64_t count) {
  const double max = *std::max_element(log_weights, log_weights + count);
  double total = 0;
  for (int64_t p = 0; p < count; ++p) total += log_weights[p] = std::exp(log_weights[p] - max);
  for (int64_t p = 0; p < count; ++p) log_weights[p] /= total;
}

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

void WeightedSum(const float* const* parts, const double* weights, int64_t count, int64_t n,
                 float* out) {
  for (int64_t i = 0; i < n; ++i) {
    double sum = 0;
    for (int64_t p = 0; p < count; ++p) {
      if (weights[p] != 0) sum += weights[p] * parts[p][i];
    }
    out[i] = static_cast<float>(sum);
  }
}

}  // namespace sieve
