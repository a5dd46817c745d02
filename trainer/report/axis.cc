#include "trainer/report/axis.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_format.h"

namespace sieve {
namespace {

constexpr double kTicks = 5;  // about so many

// A step of 1, 2 or 5 times a power of ten.
double NiceStep(double range) {
  const double raw = range / kTicks, power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (raw <= factor * power) return factor * power;
  }
  return 10 * power;
}

// As many digits as tell neighbours of this distance apart.
std::string Text(double value, double step) {
  if (value == 0) return "0";
  if (std::abs(value) >= 1e5 || std::abs(value) < 1e-4) return absl::StrFormat("%.2g", value);
  const int digits = std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9)));
  return absl::StrFormat("%.*f", digits, value);
}

}  // namespace

Axis::Axis(const AxisOptions& options, const std::vector<double>& values, double from, double to)
    : options_(options), from_(from), to_(to) {
  SetRange(values);
  SetTicks();
}

bool Axis::Has(double value) const { return std::isfinite(value) && (!options_.log || value > 0); }

double Axis::Scaled(double value) const { return options_.log ? std::log10(value) : value; }

double Axis::At(double value) const {
  return from_ + (Scaled(value) - low_) / (high_ - low_) * (to_ - from_);
}

void Axis::SetRange(const std::vector<double>& values) {
  if (!options_.names.empty()) {
    low_ = -0.5;
    high_ = static_cast<double>(options_.names.size()) - 0.5;
    return;
  }
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const double value : values) {
    if (!Has(value)) continue;
    low = std::min(low, Scaled(value));
    high = std::max(high, Scaled(value));
  }
  if (low > high) return;
  // One value alone stands in the middle, and so do values that no label could tell apart.
  const double least = options_.log ? 0.1 : std::max(1e-9, 0.02 * std::abs(high));
  if (high - low < 1e-5 * std::max(std::abs(high), std::abs(low)) || high == low) {
    low -= least;
    high += least;
  }
  const double room = options_.room * (high - low);
  low_ = low - room;
  high_ = high + room;
}

void Axis::SetTicks() {
  for (size_t i = 0; i < options_.names.size(); ++i) {
    ticks_.push_back({static_cast<double>(i), options_.names[i]});
  }
  if (!ticks_.empty()) return;
  if (options_.log && high_ - low_ > 0.6) {
    const bool few = high_ - low_ < 2.5;
    for (double decade = std::floor(low_); decade <= high_; ++decade) {
      for (const double factor : {1.0, 2.0, 5.0}) {
        const double value = factor * std::pow(10, decade);
        if ((few || factor == 1) && Scaled(value) >= low_ && Scaled(value) <= high_) {
          ticks_.push_back({value, Text(value, value)});
        }
      }
    }
    return;
  }
  const double low = options_.log ? std::pow(10, low_) : low_;
  const double high = options_.log ? std::pow(10, high_) : high_;
  const double step = NiceStep(high - low);
  for (double k = std::ceil(low / step); k * step <= high; ++k) {
    ticks_.push_back({k * step, Text(k * step, step)});
  }
}

}  // namespace sieve
