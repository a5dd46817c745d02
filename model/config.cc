#include "model/config.h"

#include <cmath>
#include <numbers>

namespace sieve {
namespace {

// Meta's interpolation: wavelengths short against the original context stay, long ones are slowed down by
// `factor`, those between are blended.
double Llama3Frequency(double frequency, const RopeScaling& scaling) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double original = static_cast<double>(scaling.original_context_length);
  if (wavelength < original / scaling.high_freq_factor) return frequency;
  if (wavelength > original / scaling.low_freq_factor) return frequency / scaling.factor;
  const double blend = (original / wavelength - scaling.low_freq_factor) /
                       (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - blend) * frequency / scaling.factor + blend * frequency;
}

}  // namespace

std::vector<double> RopeFrequencies(const ModelConfig& config) {
  const int64_t half = config.head_dim / 2;
  std::vector<double> frequencies(half);
  for (int64_t i = 0; i < half; ++i) {
    double f = std::pow(config.rope_theta, -2.0 * i / config.head_dim);
    if (i < static_cast<int64_t>(config.rope_frequency_divisors.size())) {
      f /= config.rope_frequency_divisors[i];
    } else if (config.rope_scaling.kind == RopeScaling::Kind::kLinear) {
      f /= config.rope_scaling.factor;
    } else if (config.rope_scaling.kind == RopeScaling::Kind::kLlama3) {
      f = Llama3Frequency(f, config.rope_scaling);
    }
    frequencies[i] = f;
  }
  return frequencies;
}

}  // namespace sieve
