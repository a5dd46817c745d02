#include "kernels/elementwise.h"

#include <cmath>

#include "kernels/cpu_features.h"
#include "kernels/elementwise_avx2.h"

namespace sieve {

void RmsNormReference(const float* x, const float* weight, double epsilon, int64_t n, float* out) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * x[i];
  const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + epsilon);
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(x[i] * scale * weight[i]);
}

void SwiGluReference(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const double g = gate[i];
    out[i] = static_cast<float>(g / (1 + std::exp(-g)) * up[i]);
  }
}

void RmsNorm(const float* x, const float* weight, double epsilon, int64_t n, float* out) {
  if (HasAvx2() && n % 8 == 0) return RmsNormAvx2(x, weight, epsilon, n, out);
  RmsNormReference(x, weight, epsilon, n, out);
}

void SwiGlu(const float* gate, const float* up, int64_t n, float* out) {
  const int64_t whole = HasAvx2() ? n / 8 * 8 : 0;
  if (whole > 0) SwiGluAvx2(gate, up, whole, out);
  SwiGluReference(gate + whole, up + whole, n - whole, out + whole);
}

namespace {

// Sines are multiplied by `direction`.
void Rotate(float* x, int64_t heads, int64_t head_dim, const float* cosines, const float* sines,
            bool interleaved, float direction) {
  const int64_t half = head_dim / 2;
  const int64_t step = interleaved ? 2 : 1;
  const int64_t partner = interleaved ? 1 : half;
  for (int64_t h = 0; h < heads; ++h, x += head_dim) {
    for (int64_t i = 0; i < half; ++i) {
      const float a = x[i * step], b = x[i * step + partner];
      const float sine = direction * sines[i];
      x[i * step] = a * cosines[i] - b * sine;
      x[i * step + partner] = a * sine + b * cosines[i];
    }
  }
}

}  // namespace

void ApplyRope(float* x, int64_t heads, int64_t head_dim, const float* cosines, const float* sines,
               bool interleaved) {
  Rotate(x, heads, head_dim, cosines, sines, interleaved, 1);
}

void RotateBack(float* x, int64_t heads, int64_t head_dim, const float* cosines, const float* sines,
                bool interleaved) {
  Rotate(x, heads, head_dim, cosines, sines, interleaved, -1);
}

void RopeAngles(const double* frequencies, int64_t half, int64_t position, float* cosines,
                float* sines) {
  for (int64_t i = 0; i < half; ++i) {
    const float angle = static_cast<float>(position) * static_cast<float>(frequencies[i]);
    cosines[i] = std::cos(angle);
    sines[i] = std::sin(angle);
  }
}

}  // namespace sieve
