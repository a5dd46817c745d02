#ifndef SIEVE_KERNELS_SAMPLING_MATH_H_
#define SIEVE_KERNELS_SAMPLING_MATH_H_

// The arithmetic of sampling, for the CPU's sampler and the GPU's, whose tokens must be the same:
// every operation is rounded in one way, and weights are added as integers, so that a sum is the
// same in any order. Inlined everywhere, for its callers are compiled for different processors.

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/cuda/host_device.h"

#define SIEVE_SAMPLING_MATH [[gnu::always_inline]] SIEVE_HOST_DEVICE inline

namespace sieve {

SIEVE_SAMPLING_MATH float FusedMultiplyAdd(float a, float b, float c) {
#ifdef __CUDA_ARCH__
  return __fmaf_rn(a, b, c);
#else
  return std::fma(a, b, c);
#endif
}

// Never joined with an addition that follows.
SIEVE_SAMPLING_MATH float Multiply(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

// Weights are counted in units of 2^-40 of the most probable token's.
inline constexpr int kWeightBits = 40;

// What is this much less probable than the best, in nats, weighs less than half a unit.
inline constexpr float kWeightCut = 28.5f;

// exp(x) for x <= 0, within 2e-7 relative; 0 below -kWeightCut; 1 for 0. x log2(e) = n + r, |r| <=
// 1/2, and a polynomial (minimax in relative error) gives 2^r.
SIEVE_SAMPLING_MATH float ExpOfNonPositive(float x) {
  constexpr float kLog2e = 1.44269502f, kLog2eRest = 1.92596303e-8f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = FusedMultiplyAdd(x, kLog2e, kRound);
  const float n = shifted - kRound;
  const float r = FusedMultiplyAdd(x, kLog2eRest, FusedMultiplyAdd(x, kLog2e, -n));
  float p = 0.00132647296f;
  p = FusedMultiplyAdd(p, r, 0.00967151392f);
  p = FusedMultiplyAdd(p, r, 0.0555073358f);
  p = FusedMultiplyAdd(p, r, 0.240222424f);
  p = FusedMultiplyAdd(p, r, 0.693147004f);
  p = FusedMultiplyAdd(p, r, 1.0f);
  // n is in the low bits of `shifted`, and none of its others reaches the exponent.
  const uint32_t bits = std::bit_cast<uint32_t>(p) + (std::bit_cast<uint32_t>(shifted) << 23);
  return x < -kWeightCut ? 0.0f : std::bit_cast<float>(bits);
}

// A token's weight before it is counted: exp((logit - max) / temperature).
SIEVE_SAMPLING_MATH float WeightOf(float logit, float max, float inverse_temperature) {
  return ExpOfNonPositive(Multiply(logit - max, inverse_temperature));
}

// At most the largest float, for temperature may be the smallest. REQUIRES: temperature > 0.
SIEVE_SAMPLING_MATH float InverseTemperature(float temperature) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  const float inverse = 1 / temperature;
  return inverse < kLargest ? inverse : kLargest;
}

// A weight in [0, 1] in units, to nearest, ties to even: a double of this size has just these bits
// in its fraction.
SIEVE_SAMPLING_MATH uint64_t UnitsOf(float weight) {
  constexpr double kOffset = uint64_t{1} << (52 - kWeightBits);
  return std::bit_cast<uint64_t>(static_cast<double>(weight) + kOffset) -
         std::bit_cast<uint64_t>(kOffset);
}

// The logarithm of a sum of weights. REQUIRES: units > 0.
SIEVE_SAMPLING_MATH double LogOfUnits(uint64_t units) {
  return std::log(static_cast<double>(units) * (1.0 / (uint64_t{1} << kWeightBits)));
}

// The weight that the tokens of top-p reach, of those with weight `total` together.
SIEVE_SAMPLING_MATH uint64_t TopPUnits(float top_p, uint64_t total) {
  const uint64_t units =
      static_cast<uint64_t>(static_cast<double>(top_p) * static_cast<double>(total));
  return units > 0 ? units : 1;
}

// The first token, by id, at which the running sum of weights exceeds this is drawn. `uniform` is
// 53 random bits.
SIEVE_SAMPLING_MATH uint64_t DrawnUnits(uint64_t uniform, uint64_t total) {
#ifdef __CUDA_ARCH__
  return __umul64hi(uniform << 11, total);
#else
  return static_cast<uint64_t>(static_cast<unsigned __int128>(uniform << 11) * total >> 64);
#endif
}

SIEVE_SAMPLING_MATH float ClampToFinite(float x) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  return x > kLargest ? kLargest : x < -kLargest ? -kLargest : x;
}

SIEVE_SAMPLING_MATH float BiasedLogit(float logit, float bias) {
  return ClampToFinite(logit + bias);
}

struct Penalties {
  float repetition = 1;
  float presence = 0;
  float frequency = 0;
};

// Of a token in the history, generated `count` times. A tiny divisor may overflow: hence the clamp.
SIEVE_SAMPLING_MATH float PenalisedLogit(float logit, int32_t count, const Penalties& penalties) {
  logit = logit > 0 ? logit / penalties.repetition : Multiply(logit, penalties.repetition);
  if (count > 0) {
    logit -= FusedMultiplyAdd(penalties.frequency, static_cast<float>(count), penalties.presence);
  }
  return ClampToFinite(logit);
}

// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3" (SC 2011).
SIEVE_SAMPLING_MATH std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter,
                                                       std::array<uint32_t, 2> key) {
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// 53 random bits for token `position` of sample `sample`.
SIEVE_SAMPLING_MATH uint64_t UniformBitsAt(uint64_t seed, int32_t sample, int64_t position) {
  const std::array<uint32_t, 4> bits =
      Philox4x32({static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32),
                  static_cast<uint32_t>(sample), 0},
                 {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return (uint64_t{bits[0]} << 32 | bits[1]) >> 11;
}

}  // namespace sieve

#undef SIEVE_SAMPLING_MATH

#endif  // SIEVE_KERNELS_SAMPLING_MATH_H_
