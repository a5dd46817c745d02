#ifndef SIEVE_CLIENT_BENCH_RANDOM_H_
#define SIEVE_CLIENT_BENCH_RANDOM_H_

#include <cmath>
#include <cstdint>

namespace sieve {

// One of the bijections of SplitMix64 (Steele, Lea and Flood, 2014): every bit of the result
// depends on every bit of `x`.
inline uint64_t MixBits(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// SplitMix64. The standard library's distributions differ between libraries; these draws are the
// same everywhere, so that a seed names a workload. Streams of one seed are independent.
class Rng {
 public:
  Rng(uint64_t seed, uint64_t stream) : state_(MixBits(MixBits(seed) + stream)) {}

  uint64_t Next() { return MixBits(state_ += 0x9e3779b97f4a7c15); }
  // In [0, 1).
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
  // In [low, high]; the bias is below (high - low) / 2^64.
  int64_t InRange(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(Next() % static_cast<uint64_t>(high - low + 1));
  }
  // Exponentially distributed with mean 1.
  double Exponential() { return -std::log1p(-Uniform()); }

 private:
  uint64_t state_;
};

}  // namespace sieve

#endif  // SIEVE_CLIENT_BENCH_RANDOM_H_
