#include "tests/kernels/random_data.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/float16.h"

namespace sieve {

uint64_t TestSeed() {
  const char* given = std::getenv("SIEVE_TEST_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  std::printf("SIEVE_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

std::vector<float> RandomFloats(std::mt19937_64& random, int64_t count, float scale) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> out(count);
  for (float& v : out) v = normal(random);
  return out;
}

namespace {

// Where a block's f16 scales stand.
std::vector<int> ScaleOffsets(DType dtype) {
  switch (dtype) {
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return {0, 2};
    case DType::kQ6_K:
      return {208};
    default:
      return {0};
  }
}

void PutHalf(uint8_t* to, float value) {
  const uint16_t bits = FloatToHalf(value);
  std::memcpy(to, &bits, sizeof(bits));
}

}  // namespace

std::vector<uint8_t> RandomWeights(std::mt19937_64& random, DType dtype, int64_t rows,
                                   int64_t cols) {
  std::normal_distribution<float> normal(0, 0.05f);
  std::vector<uint8_t> out(rows * RowBytes(dtype, cols));
  const DTypeInfo info = InfoOf(dtype);
  if (info.elements == 1) {
    for (int64_t i = 0; i < rows * cols; ++i) {
      const float value = normal(random);
      const uint16_t half = dtype == DType::kF16 ? FloatToHalf(value) : FloatToBFloat16(value);
      if (dtype == DType::kF32) {
        std::memcpy(&out[4 * i], &value, 4);
      } else {
        std::memcpy(&out[2 * i], &half, 2);
      }
    }
    return out;
  }
  for (uint8_t& byte : out) byte = static_cast<uint8_t>(random());
  for (size_t block = 0; block < out.size(); block += info.bytes) {
    for (int offset : ScaleOffsets(dtype)) PutHalf(&out[block + offset], normal(random) * 0.1f);
  }
  return out;
}

double RelativeError(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0, largest = 1e-30;
  for (size_t i = 0; i < b.size(); ++i) {
    if (std::isnan(a[i]) || std::isnan(b[i])) return std::nan("");
    error = std::max(error, std::fabs(static_cast<double>(a[i]) - b[i]));
    largest = std::max(largest, std::fabs(static_cast<double>(b[i])));
  }
  return error / largest;
}

}  // namespace sieve
