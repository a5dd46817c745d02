#include "model/config.h"

#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

// Meta's interpolation: wavelengths short against the original context stay, long ones are slowed
// down by `factor`, those between are blended.
double Llama3Frequency(double frequency, const RopeScaling& scaling) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double original = static_cast<double>(scaling.original_context_length);
  if (wavelength < original / scaling.high_freq_factor) return frequency;
  if (wavelength > original / scaling.low_freq_factor) return frequency / scaling.factor;
  const double blend = (original / wavelength - scaling.low_freq_factor) /
                       (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - blend) * frequency / scaling.factor + blend * frequency;
}

absl::Status CheckRange(const char* field, int64_t value, int64_t max) {
  if (value >= 1 && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, ", expected 1 to ", max));
}

absl::Status CheckPositive(const char* field, double value) {
  if (std::isfinite(value) && value > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value, ", expected a positive number"));
}

absl::Status ValidateScaling(const RopeScaling& scaling) {
  if (scaling.kind == RopeScaling::Kind::kNone) return absl::OkStatus();
  absl::Status status = CheckPositive("rope scaling factor", scaling.factor);
  if (!status.ok() || scaling.kind == RopeScaling::Kind::kLinear) return status;
  status.Update(CheckPositive("rope scaling low_freq_factor", scaling.low_freq_factor));
  status.Update(CheckPositive("rope scaling high_freq_factor", scaling.high_freq_factor));
  status.Update(CheckRange("rope scaling original context length", scaling.original_context_length,
                           int64_t{1} << 31));
  if (status.ok() && scaling.high_freq_factor <= scaling.low_freq_factor) {
    return absl::InvalidArgumentError("rope scaling high_freq_factor is not above low_freq_factor");
  }
  return status;
}

}  // namespace

absl::Status ValidateConfig(const ModelConfig& config) {
  absl::Status status = CheckRange("hidden size", config.hidden_size, 1 << 20);
  status.Update(CheckRange("intermediate size", config.intermediate_size, 1 << 24));
  status.Update(CheckRange("number of layers", config.num_layers, 10000));
  status.Update(CheckRange("number of attention heads", config.num_heads, 1 << 16));
  status.Update(CheckRange("number of key/value heads", config.num_kv_heads, config.num_heads));
  status.Update(CheckRange("head dimension", config.head_dim, 1 << 16));
  status.Update(CheckRange("vocabulary size", config.vocabulary_size, 1 << 28));
  status.Update(CheckRange("context length", config.context_length, (int64_t{1} << 31) - 1));
  status.Update(CheckPositive("rms norm epsilon", config.rms_norm_epsilon));
  status.Update(CheckPositive("rope theta", config.rope_theta));
  status.Update(ValidateScaling(config.rope_scaling));
  if (!status.ok()) return status;
  if (config.num_heads % config.num_kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(config.num_heads,
                                                   " attention heads do not divide into ",
                                                   config.num_kv_heads, " key/value heads"));
  }
  if (config.head_dim % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat("head dimension ", config.head_dim, " is odd"));
  }
  const size_t divisors = config.rope_frequency_divisors.size();
  if (divisors != 0 && divisors != static_cast<size_t>(config.head_dim / 2)) {
    return absl::InvalidArgumentError(absl::StrCat(
        divisors, " rope frequency divisors for a head dimension of ", config.head_dim));
  }
  for (const float divisor : config.rope_frequency_divisors) {
    status = CheckPositive("rope frequency divisor", divisor);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

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
