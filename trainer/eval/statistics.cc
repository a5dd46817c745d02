#include "trainer/eval/statistics.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace sieve {
namespace {

constexpr double kZ = 1.959963984540054;  // of the normal distribution, at 97.5 %
constexpr int kResamples = 2000;

}  // namespace

std::optional<Interval> WilsonInterval(int64_t successes, int64_t trials) {
  if (trials == 0) return std::nullopt;
  const double n = static_cast<double>(trials), p = static_cast<double>(successes) / n;
  const double centre = p + kZ * kZ / (2 * n);
  const double half = kZ * std::sqrt(p * (1 - p) / n + kZ * kZ / (4 * n * n));
  const double scale = 1 + kZ * kZ / n;
  return Interval{std::max(0.0, (centre - half) / scale), std::min(1.0, (centre + half) / scale)};
}

double McNemarP(int64_t only_first, int64_t only_second) {
  const double n = static_cast<double>(only_first + only_second);
  double tail = 0;  // of the binomial distribution of n trials at one half
  for (int64_t k = 0; k <= std::min(only_first, only_second); ++k) {
    const double i = static_cast<double>(k);
    tail += std::exp(std::lgamma(n + 1) - std::lgamma(i + 1) - std::lgamma(n - i + 1) -
                     n * std::log(2.0));
  }
  return std::min(1.0, 2 * tail);
}

std::optional<Interval> BootstrapInterval(
    int64_t units, uint64_t seed,
    absl::FunctionRef<double(absl::Span<const int32_t> chosen)> statistic) {
  if (units < 2) return std::nullopt;
  std::mt19937_64 random(seed);
  std::vector<int32_t> chosen(units);
  std::vector<double> values;
  values.reserve(kResamples);
  for (int i = 0; i < kResamples; ++i) {
    for (int32_t& index : chosen) {
      index = static_cast<int32_t>(random() % static_cast<uint64_t>(units));
    }
    values.push_back(statistic(chosen));
  }
  std::sort(values.begin(), values.end());
  return Interval{values[kResamples / 40], values[kResamples - 1 - kResamples / 40]};
}

double Mean(absl::Span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

std::optional<Interval> DifferenceInterval(absl::Span<const double> a, absl::Span<const double> b,
                                           uint64_t seed) {
  return BootstrapInterval(static_cast<int64_t>(a.size()), seed,
                           [&](absl::Span<const int32_t> chosen) {
                             double sum = 0;
                             for (const int32_t i : chosen) sum += b[i] - a[i];
                             return sum / static_cast<double>(chosen.size());
                           });
}

}  // namespace sieve
