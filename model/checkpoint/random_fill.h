#ifndef SIEVE_MODEL_CHECKPOINT_RANDOM_FILL_H_
#define SIEVE_MODEL_CHECKPOINT_RANDOM_FILL_H_

#include <array>
#include <cstdint>
#include <string_view>

#include "absl/types/span.h"

namespace sieve {

// The key of one tensor's values.
uint64_t RandomKey(uint64_t seed, std::string_view tensor);

// Normal random numbers as bf16, some 1 ns each. Number i depends on key and i alone, so that any
// part can be made anywhere, by any thread, in any order.
//
// 12 bits of a counter's hash choose among 4096 values that lie at the middles of as many equally
// likely parts of the normal distribution: a look-up in 8 KiB costs less than computing one, and
// four come from one hash.
class NormalBf16 {
 public:
  // Mean 0. REQUIRES: deviation > 0.
  explicit NormalBf16(double deviation);

  // out[i] becomes number `begin` + i. REQUIRES: begin >= 0 and a multiple of 4.
  void Fill(uint64_t key, int64_t begin, absl::Span<uint16_t> out) const;

 private:
  static constexpr int kBits = 12;

  std::array<uint16_t, 1 << kBits> values_;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_RANDOM_FILL_H_
