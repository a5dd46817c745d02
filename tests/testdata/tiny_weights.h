#ifndef SIEVE_TESTS_TESTDATA_TINY_WEIGHTS_H_
#define SIEVE_TESTS_TESTDATA_TINY_WEIGHTS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/dtype.h"

namespace sieve {

// Reproducible random numbers: number i of a stream depends on seed, name and i alone.
// tests/model/parity/make_goldens.py computes the same, to the last bit.
class CounterRandom {
 public:
  CounterRandom(uint64_t seed, std::string_view name);
  uint64_t Bits(uint64_t i) const;
  // One of 2^24 evenly spaced values in [-1, 1).
  float Uniform(uint64_t i) const;

 private:
  uint64_t key_;
};

enum class TensorRole { kMatrix, kNorm, kBias };

// Matrices: uniform of variance 1 / cols; norms: 1 ± 0.25; biases: ± 0.25.
std::vector<float> RandomTensor(uint64_t seed, std::string_view name, TensorRole role, int64_t rows,
                                int64_t cols);

// Values as the type stores them (nearest even). REQUIRES: kF32, kF16 or kBF16.
std::string EncodeFloats(DType dtype, const std::vector<float>& values);

// Rows of a quantised type: random blocks whose scales are such that the values' variance is about
// 1 / cols. REQUIRES: a quantised dtype whose block divides cols.
std::string RandomBlocks(uint64_t seed, std::string_view name, DType dtype, int64_t rows,
                         int64_t cols);

}  // namespace sieve

#endif  // SIEVE_TESTS_TESTDATA_TINY_WEIGHTS_H_
