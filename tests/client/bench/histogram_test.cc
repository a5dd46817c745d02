#include "client/bench/histogram.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "client/bench/random.h"
#include "gtest/gtest.h"

namespace sieve {
namespace {

TEST(HistogramTest, EmptyIsZero) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0);
  EXPECT_EQ(histogram.Percentile(99), 0);
  EXPECT_EQ(histogram.max(), 0);
  EXPECT_EQ(histogram.mean(), 0);
}

TEST(HistogramTest, NearestRankOfKnownValues) {
  Histogram histogram;
  for (int value = 1000; value >= 1; --value) histogram.Add(value);
  EXPECT_EQ(histogram.Percentile(50), 500);
  EXPECT_EQ(histogram.Percentile(90), 900);
  EXPECT_EQ(histogram.Percentile(99), 990);
  EXPECT_EQ(histogram.Percentile(99.9), 999);
  EXPECT_EQ(histogram.Percentile(100), 1000);
  EXPECT_EQ(histogram.Percentile(0.01), 1);
  EXPECT_EQ(histogram.max(), 1000);
  EXPECT_EQ(histogram.mean(), 500.5);
}

TEST(HistogramTest, OneValueIsEveryPercentile) {
  Histogram histogram;
  histogram.Add(123'456'789'012);
  // Its bucket is wider than one, but no percentile is above the greatest value.
  EXPECT_EQ(histogram.Percentile(1), 123'456'789'012);
  EXPECT_EQ(histogram.Percentile(99.9), 123'456'789'012);
}

TEST(HistogramTest, NegativeCountsAsZero) {
  Histogram histogram;
  histogram.Add(-5);
  EXPECT_EQ(histogram.Percentile(50), 0);
  EXPECT_EQ(histogram.count(), 1);
}

TEST(HistogramTest, NeverBelowTheTruthAndAtMostAThousandthAbove) {
  constexpr uint64_t kSeed = 20261124;
  SCOPED_TRACE(kSeed);
  Rng rng(kSeed, 0);
  Histogram histogram;
  std::vector<int64_t> values;
  for (int i = 0; i < 20'000; ++i) {
    // From nanoseconds to hours.
    values.push_back(static_cast<int64_t>(std::exp(rng.Uniform() * 30)));
    histogram.Add(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const double percent : {0.1, 1.0, 10.0, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0}) {
    const int64_t truth = values[static_cast<size_t>(std::ceil(percent * 200 - 1e-6)) - 1];
    EXPECT_GE(histogram.Percentile(percent), truth) << percent;
    EXPECT_LE(histogram.Percentile(percent), truth + truth / 1024) << percent;
  }
}

TEST(HistogramTest, BordersOfBuckets) {
  for (int bit = 0; bit < 62; ++bit) {
    for (const int64_t value : {(int64_t{1} << bit) - 1, int64_t{1} << bit}) {
      Histogram histogram;
      histogram.Add(value);
      histogram.Add(int64_t{1} << 62);
      EXPECT_GE(histogram.Percentile(50), value);
      EXPECT_LE(histogram.Percentile(50), value + value / 1024);
    }
  }
}

}  // namespace
}  // namespace sieve
