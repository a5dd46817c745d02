#include "model/checkpoint/random_fill.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "kernels/float16.h"

namespace sieve {
namespace {

constexpr double kDeviation = 0.02;

std::vector<uint16_t> Fill(uint64_t key, int64_t begin, int64_t count,
                           double deviation = kDeviation) {
  std::vector<uint16_t> values(count);
  NormalBf16(deviation).Fill(key, begin, absl::MakeSpan(values));
  return values;
}

struct Moments {
  double mean = 0;
  double deviation = 0;
  double kurtosis = 0;    // 3 for a normal distribution
  double within_one = 0;  // share of values within one deviation
};

Moments MomentsOf(const std::vector<uint16_t>& values) {
  double sum = 0, squares = 0, fourths = 0, near = 0;
  for (const uint16_t v : values) sum += BFloat16ToFloat(v);
  const double n = static_cast<double>(values.size()), mean = sum / n;
  for (const uint16_t v : values) {
    const double square = std::pow(BFloat16ToFloat(v) - mean, 2);
    squares += square;
    fourths += square * square;
  }
  const double deviation = std::sqrt(squares / n);
  for (const uint16_t v : values) near += std::abs(BFloat16ToFloat(v) - mean) < deviation;
  return {mean, deviation, fourths / n / std::pow(deviation, 4), near / n};
}

// As computed by another program: measurements of different versions are of the same weights.
TEST(RandomFillTest, GoldenValues) {
  EXPECT_EQ(RandomKey(0, "model.norm.weight"), 10110129821816418675u);
  EXPECT_EQ(RandomKey(1, ""), 10451216379200822465u);
  EXPECT_EQ(Fill(RandomKey(0, "model.embed_tokens.weight"), 0, 8),
            (std::vector<uint16_t>{15556, 15546, 48057, 15643, 15400, 48346, 48335, 15529}));
  EXPECT_EQ(Fill(RandomKey(7, "lm_head.weight"), int64_t{1} << 40, 4),
            (std::vector<uint16_t>{48310, 48223, 48381, 15193}));
}

TEST(RandomFillTest, IsNormal) {
  constexpr int64_t kCount = 1 << 20;
  for (const double deviation : {0.02, 0.5}) {
    const Moments m = MomentsOf(Fill(3, 0, kCount, deviation));
    EXPECT_LT(std::abs(m.mean), 4 * deviation / std::sqrt(kCount));
    EXPECT_NEAR(m.deviation / deviation, 1, 4 / std::sqrt(2.0 * kCount));
    EXPECT_NEAR(m.kurtosis, 3, 0.06);          // 4096 values lack the outermost tails
    EXPECT_NEAR(m.within_one, 0.6827, 0.005);  // bf16 has 128 values an octave
  }
}

TEST(RandomFillTest, PartsAreThoseOfTheWhole) {
  const std::vector<uint16_t> whole = Fill(5, 0, 1001);
  for (const auto& [begin, count] : std::vector<std::pair<int64_t, int64_t>>{
           {0, 4}, {0, 3}, {4, 1}, {400, 601}, {1000, 1}, {500, 0}}) {
    const auto first = whole.begin() + begin;
    EXPECT_EQ(Fill(5, begin, count), std::vector<uint16_t>(first, first + count))
        << begin << " " << count;
  }
}

TEST(RandomFillTest, TensorsAndSeedsDiffer) {
  std::set<uint64_t> keys;
  std::set<std::vector<uint16_t>> values;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    for (int layer = 0; layer < 10; ++layer) {
      const uint64_t key = RandomKey(seed, "model.layers." + std::to_string(layer) + ".weight");
      keys.insert(key);
      values.insert(Fill(key, 0, 16));
    }
  }
  EXPECT_EQ(keys.size(), 100u);
  EXPECT_EQ(values.size(), 100u);
}

// The four values of one hash, and those of neighbouring hashes, have nothing to do with each
// other.
TEST(RandomFillTest, NeighboursAreUncorrelated) {
  constexpr int64_t kCount = 1 << 20;
  const std::vector<uint16_t> values = Fill(11, 0, kCount, 1);
  for (const int64_t lag : {1, 2, 3, 4, 5, 8, 2048}) {
    double sum = 0;
    for (int64_t i = 0; i + lag < kCount; ++i) {
      sum += static_cast<double>(BFloat16ToFloat(values[i])) * BFloat16ToFloat(values[i + lag]);
    }
    EXPECT_LT(std::abs(sum / kCount), 5 / std::sqrt(kCount)) << lag;
  }
}

}  // namespace
}  // namespace sieve
