#ifndef SIEVE_TESTS_KERNELS_RANDOM_DATA_H_
#define SIEVE_TESTS_KERNELS_RANDOM_DATA_H_

#include <cstdint>
#include <random>
#include <vector>

#include "kernels/dtype.h"

namespace sieve {

// A seed from the clock, printed so that a failure can be repeated with SIEVE_TEST_SEED.
uint64_t TestSeed();

std::vector<float> RandomFloats(std::mt19937_64& random, int64_t count, float scale = 1);

// `rows` rows of `cols` values in a storage type: random codes, scales of a sane size.
std::vector<uint8_t> RandomWeights(std::mt19937_64& random, DType dtype, int64_t rows,
                                   int64_t cols);

// max |a - b| / max |b|.
double RelativeError(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace sieve

#endif  // SIEVE_TESTS_KERNELS_RANDOM_DATA_H_
