#include "model/sampling/logit_math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

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
  for (float x = 0; x > -86.9f; x -= 0.01f) row.push_back(x);
  std::vector<float> weights(row.size());
  const double sum = ExpWeights(row, 0, 1, absl::MakeSpan(weights));
  for (size_t i = 0; i < row.size(); ++i) {
    const double exact = std::exp(static_cast<double>(row[i]));
    ASSERT_NEAR(weights[i], exact, 2e-7 * exact) << row[i];
  }
  EXPECT_NEAR(sum, std::accumulate(weights.begin(), weights.end(), 0.0), 1e-9 * sum);
  EXPECT_EQ(weights[0], 1);
}

TEST(LogitMathTest, ExponentialsAtTheEnds) {
  constexpr float kMax = std::numeric_limits<float>::max();
  const std::vector<float> row = {kMax, -kMax, -kInfinity, kMax / 2, kMax};
  std::vector<float> weights(row.size());
  EXPECT_EQ(ExpWeights(row, kMax, 1, absl::MakeSpan(weights)), 2);
  EXPECT_EQ(weights, (std::vector<float>{1, 0, 0, 0, 1}));
  EXPECT_EQ(ExpWeights(row, kMax, kMax, absl::MakeSpan(weights)), 2);
  EXPECT_EQ(weights, (std::vector<float>{1, 0, 0, 0, 1}));
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
