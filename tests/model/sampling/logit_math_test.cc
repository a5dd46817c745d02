#include "model/sampling/logit_math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/sampling_math.h"
#include "model/sampling/exp_weights_loop.h"

namespace sieve {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Sizes around the lanes of the loops.
const int kSizes[] = {1, 2, 15, 16, 17, 31, 32, 33, 1000};

std::vector<float> RandomRow(int size, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 5);
  std::vector<float> row(size);
  for (float& value : row) value = normal(random);
  return row;
}

TEST(LogitMathTest, FindsWhatIsNotFiniteAnywhere) {
  EXPECT_TRUE(AllFinite({}));
  for (const int size : kSizes) {
    std::vector<float> row = RandomRow(size, size);
    row[0] = std::numeric_limits<float>::max();
    EXPECT_TRUE(AllFinite(row));
    for (const float bad : {std::nanf(""), -std::nanf(""), kInfinity, -kInfinity}) {
      for (int i = 0; i < size; ++i) {
        const float was = std::exchange(row[i], bad);
        EXPECT_FALSE(AllFinite(row)) << bad << " at " << i << " of " << size;
        row[i] = was;
      }
    }
  }
}

TEST(LogitMathTest, MaximumAndItsFirstPlace) {
  EXPECT_EQ(MaxLogit({}), -kInfinity);
  for (const int size : kSizes) {
    std::vector<float> row = RandomRow(size, size);
    for (int i = 0; i < size; ++i) {
      const float was = std::exchange(row[i], 1000.0f);
      EXPECT_EQ(MaxLogit(row), 1000);
      EXPECT_EQ(ArgMax(row), i);
      row[i] = was;
    }
    const std::vector<float> equal(size, -3.0f);
    EXPECT_EQ(ArgMax(equal), 0);
  }
}

TEST(LogitMathTest, ExponentialsAreAccurate) {
  std::vector<float> row;
  for (float x = 0; x > -kWeightCut; x -= 1e-4f) row.push_back(x);
  std::vector<float> weights(row.size());
  const uint64_t sum = ExpWeights(row, 0, 1, absl::MakeSpan(weights));
  uint64_t units = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    const double exact = std::exp(static_cast<double>(row[i]));
    ASSERT_NEAR(weights[i], exact, 2e-7 * exact) << row[i];
    ASSERT_EQ(UnitsOf(weights[i]), std::nearbyint(weights[i] * 0x1p40)) << row[i];
    units += UnitsOf(weights[i]);
  }
  EXPECT_EQ(sum, units);
  EXPECT_EQ(weights[0], 1);
}

TEST(LogitMathTest, ExponentialsAtTheEnds) {
  constexpr float kMax = std::numeric_limits<float>::max();
  const std::vector<float> row = {kMax, -kMax, -kInfinity, kMax / 2, kMax};
  std::vector<float> weights(row.size());
  for (const float inverse_temperature : {1.0f, kMax}) {
    EXPECT_EQ(ExpWeights(row, kMax, inverse_temperature, absl::MakeSpan(weights)),
              uint64_t{2} << kWeightBits);
    EXPECT_EQ(weights, (std::vector<float>{1, 0, 0, 0, 1}));
  }
}

TEST(LogitMathTest, WhatIsCutWeighsNothing) {
  EXPECT_EQ(UnitsOf(ExpOfNonPositive(-kWeightCut)), 0);
  EXPECT_EQ(UnitsOf(ExpOfNonPositive(-28.4f)), 1);
  EXPECT_EQ(UnitsOf(1), uint64_t{1} << kWeightBits);
}

// Both loops, where there is a processor for both.
TEST(LogitMathTest, EveryProcessorGivesTheSameBits) {
  const std::vector<float> row = RandomRow(1000, 7);
  const float max = MaxLogit(row);
  for (const float inverse_temperature : {0.01f, 0.7f, 1.0f, 30.0f}) {
    std::vector<float> fast(row.size()), plain(row.size());
    EXPECT_EQ(ExpWeights(row, max, inverse_temperature, absl::MakeSpan(fast)),
              ExpWeightsLoop(row.data(), row.size(), max, inverse_temperature, plain.data()));
    EXPECT_EQ(fast, plain);
  }
}

TEST(LogitMathTest, TopIndicesAreThoseOfASort) {
  for (const int size : kSizes) {
    std::vector<float> row = RandomRow(size, size);
    for (float& value : row) value = std::round(value);  // many ties
    std::vector<int32_t> sorted(size);
    std::iota(sorted.begin(), sorted.end(), 0);
    std::stable_sort(sorted.begin(), sorted.end(),
                     [&](int32_t a, int32_t b) { return row[a] > row[b]; });
    for (const int k : {0, 1, 2, size / 2, size - 1, size, size + 1}) {
      const int kept = std::min(k, size);
      EXPECT_EQ(TopIndices(row, k), std::vector<int32_t>(sorted.begin(), sorted.begin() + kept));
    }
  }
}

}  // namespace
}  // namespace sieve
