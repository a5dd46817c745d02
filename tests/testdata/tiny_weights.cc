#include "tests/testdata/tiny_weights.h"

#include <cassert>
#include <cmath>
#include <cstring>

#include "kernels/float16.h"

namespace sieve {
namespace {

constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;

// The output function of splitmix64 (Steele, Lea and Flood 2014).
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// FNV-1a.
uint64_t HashName(std::string_view name) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const unsigned char c : name) hash = (hash ^ c) * 0x100000001B3;
  return hash;
}

// Where a block keeps its scale and minimum (binary16), and the spread of its integers.
struct BlockLayout {
  int32_t scale_offset;
  int32_t minimum_offset;  // -1: none
  double deviation;        // of scale-free values
  double minimum;          // as a multiple of the scale, so that values centre on zero
};

BlockLayout LayoutOf(DType dtype) {
  constexpr double kFourBits = 4.6, kFiveBits = 9.2, kSixBits = 18.5, kEightBits = 73.9;
  constexpr double kSubScale = 36;  // root mean square of the K-quants' 6-bit sub-scales
  switch (dtype) {
    case DType::kQ8_0:
      return {0, -1, kEightBits, 0};
    case DType::kQ4_0:
      return {0, -1, kFourBits, 0};
    case DType::kQ4_1:
      return {0, 2, kFourBits, -7.5};
    case DType::kQ5_0:
      return {0, -1, kFiveBits, 0};
    case DType::kQ5_1:
      return {0, 2, kFiveBits, -15.5};
    case DType::kQ4_K:
      return {0, 2, 8 * kSubScale, 7.5};
    case DType::kQ5_K:
      return {0, 2, 16 * kSubScale, 15.5};
    case DType::kQ6_K:
      return {208, -1, kSixBits * kEightBits, 0};
    default:
      assert(false && "not a quantised type");
      return {};
  }
}

}  // namespace

CounterRandom::CounterRandom(uint64_t seed, std::string_view name)
    : key_(Mix(seed * kGolden + HashName(name))) {}

uint64_t CounterRandom::Bits(uint64_t i) const { return Mix(key_ + (i + 1) * kGolden); }

float CounterRandom::Uniform(uint64_t i) const {
  return static_cast<float>(Bits(i) >> 40) * 0x1p-23f - 1.0f;
}

std::vector<float> RandomTensor(uint64_t seed, std::string_view name, TensorRole role, int64_t rows,
                                int64_t cols) {
  const CounterRandom random(seed, name);
  const float scale = role == TensorRole::kMatrix
                          ? static_cast<float>(std::sqrt(3.0 / static_cast<double>(cols)))
                          : 0.25f;
  const float offset = role == TensorRole::kNorm ? 1.0f : 0.0f;
  std::vector<float> values(rows * cols);
  for (size_t i = 0; i < values.size(); ++i) values[i] = offset + scale * random.Uniform(i);
  return values;
}

std::string EncodeFloats(DType dtype, const std::vector<float>& values) {
  assert(InfoOf(dtype).elements == 1);
  std::string bytes(values.size() * InfoOf(dtype).bytes, '\0');
  if (dtype == DType::kF32) {
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t half =
        dtype == DType::kF16 ? FloatToHalf(values[i]) : FloatToBFloat16(values[i]);
    std::memcpy(bytes.data() + 2 * i, &half, sizeof(half));
  }
  return bytes;
}

std::string RandomBlocks(uint64_t seed, std::string_view name, DType dtype, int64_t rows,
                         int64_t cols) {
  const DTypeInfo info = InfoOf(dtype);
  const BlockLayout layout = LayoutOf(dtype);
  assert(cols % info.elements == 0);
  const CounterRandom random(seed, name);
  std::string bytes(rows * RowBytes(dtype, cols), '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(random.Bits(i) >> 56);
  const float scale =
      static_cast<float>(1 / (std::sqrt(static_cast<double>(cols)) * layout.deviation));
  for (size_t block = 0; block < bytes.size(); block += info.bytes) {
    // From half to one and a half times the scale.
    const float d = scale * (1 + 0.5f * random.Uniform(bytes.size() + block));
    const uint16_t half_scale = FloatToHalf(d);
    std::memcpy(bytes.data() + block + layout.scale_offset, &half_scale, sizeof(half_scale));
    if (layout.minimum_offset < 0) continue;
    const uint16_t half_minimum = FloatToHalf(d * static_cast<float>(layout.minimum));
    std::memcpy(bytes.data() + block + layout.minimum_offset, &half_minimum, sizeof(half_minimum));
  }
  return bytes;
}

}  // namespace sieve
