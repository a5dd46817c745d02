#include "model/checkpoint/random_fill.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "kernels/float16.h"

namespace sieve {
namespace {

constexpr int kValuesPerHash = 4;
constexpr uint64_t kStep = 0x9E3779B97F4A7C15;  // 2^64 over the golden ratio: visits every state

// The output function of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
// generators", OOPSLA 2014).
inline uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// Where the standard normal distribution function is `p`. REQUIRES: 0.5 <= p < 1.
double UpperQuantile(double p) {
  double low = 0, high = 9;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    const double below = 1 - std::erfc(middle / std::numbers::sqrt2) / 2;
    (below < p ? low : high) = middle;
  }
  return low;
}

}  // namespace

uint64_t RandomKey(uint64_t seed, std::string_view tensor) {
  uint64_t key = Mix(seed + kStep);
  for (const char c : tensor) key = Mix((key ^ static_cast<uint8_t>(c)) + kStep);
  return key;
}

NormalBf16::NormalBf16(double deviation) {
  constexpr int kHalf = 1 << (kBits - 1);
  for (int i = 0; i < kHalf; ++i) {
    const double value = deviation * UpperQuantile(0.5 + (i + 0.5) / (2 * kHalf));
    values_[kHalf + i] = FloatToBFloat16(static_cast<float>(value));
    values_[kHalf - 1 - i] = FloatToBFloat16(static_cast<float>(-value));
  }
}

void NormalBf16::Fill(uint64_t key, int64_t begin, absl::Span<uint16_t> out) const {
  constexpr uint64_t kMask = (1 << kBits) - 1;
  uint64_t state = key + kStep * static_cast<uint64_t>(begin / kValuesPerHash);
  const auto next = [&] {
    const uint64_t bits = Mix(state);
    state += kStep;
    return std::array<uint16_t, kValuesPerHash>{
        values_[bits & kMask], values_[(bits >> 16) & kMask], values_[(bits >> 32) & kMask],
        values_[(bits >> 48) & kMask]};
  };
  const size_t whole = out.size() / kValuesPerHash * kValuesPerHash;
  for (size_t i = 0; i < whole; i += kValuesPerHash) {
    const std::array<uint16_t, kValuesPerHash> four = next();
    std::memcpy(out.data() + i, four.data(), sizeof(four));
  }
  if (whole == out.size()) return;
  const std::array<uint16_t, kValuesPerHash> last = next();
  std::copy_n(last.begin(), out.size() - whole, out.begin() + whole);
}

}  // namespace sieve
