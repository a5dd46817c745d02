#include "kernels/elementwise_avx2.h"

#include <cmath>

#include "kernels/vector_math_avx2.h"

namespace sieve {

void RmsNormAvx2(const float* x, const float* weight, double epsilon, int64_t n, float* out) {
  __m256 squares = _mm256_setzero_ps();
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 v = _mm256_loadu_ps(x + i);
    squares = _mm256_fmadd_ps(v, v, squares);
  }
  const double mean = static_cast<double>(avx2::SumLanes(squares)) / static_cast<double>(n);
  const __m256 scale = _mm256_set1_ps(static_cast<float>(1 / std::sqrt(mean + epsilon)));
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), scale);
    _mm256_storeu_ps(out + i, _mm256_mul_ps(v, _mm256_loadu_ps(weight + i)));
  }
}

void SwiGluAvx2(const float* gate, const float* up, int64_t n, float* out) {
  const __m256 one = _mm256_set1_ps(1);
  const __m256 sign = _mm256_set1_ps(-0.0f);
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 g = _mm256_loadu_ps(gate + i);
    const __m256 denominator = _mm256_add_ps(one, avx2::Exp(_mm256_xor_ps(g, sign)));
    const __m256 silu = _mm256_div_ps(g, denominator);
    _mm256_storeu_ps(out + i, _mm256_mul_ps(silu, _mm256_loadu_ps(up + i)));
  }
}

}  // namespace sieve
