#include "trainer/eval/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace sieve {
namespace {

// Values of R's binom::binom.wilson and of statsmodels' proportion_confint.
TEST(WilsonInterval, KnownValues) {
  const auto half = WilsonInterval(5, 10);
  EXPECT_NEAR(half->low, 0.236593, 1e-6);
  EXPECT_NEAR(half->high, 0.763407, 1e-6);
  const auto none = WilsonInterval(0, 20);
  EXPECT_DOUBLE_EQ(none->low, 0);
  EXPECT_NEAR(none->high, 0.161125, 1e-6);
  const auto all = WilsonInterval(20, 20);
  EXPECT_NEAR(all->low, 0.838875, 1e-6);
  EXPECT_DOUBLE_EQ(all->high, 1);
}

TEST(WilsonInterval, NothingIsKnownWithoutATrial) { EXPECT_FALSE(WilsonInterval(0, 0)); }

// 2 * (C(10,0) + C(10,1) + C(10,2)) / 2^10, and so on.
TEST(McNemarP, KnownValues) {
  EXPECT_NEAR(McNemarP(2, 8), 0.109375, 1e-12);
  EXPECT_NEAR(McNemarP(8, 2), 0.109375, 1e-12);
  EXPECT_NEAR(McNemarP(0, 6), 0.03125, 1e-12);
  EXPECT_DOUBLE_EQ(McNemarP(5, 5), 1);
  EXPECT_DOUBLE_EQ(McNemarP(0, 0), 1);
  EXPECT_NEAR(McNemarP(400, 600), 2.7284641560660184e-10, 1e-16);
}

// The interval of a mean is close to that of the normal distribution.
TEST(BootstrapInterval, OfAMean) {
  std::vector<double> a(400), b(400);
  for (size_t i = 0; i < a.size(); ++i) {
    a[i] = static_cast<double>(i);  // cancels: pairs stay together
    b[i] = a[i] + 3 + (i % 2 == 0 ? 1 : -1);
  }
  const auto interval = DifferenceInterval(a, b, 7);
  const double half = 1.96 / std::sqrt(400.0);
  EXPECT_NEAR(interval->low, 3 - half, 0.015);
  EXPECT_NEAR(interval->high, 3 + half, 0.015);
}

TEST(BootstrapInterval, DependsOnTheSeedAlone) {
  const std::vector<double> a = {0, 0, 0, 0}, b = {1, 2, 3, 7};
  const auto first = DifferenceInterval(a, b, 1), again = DifferenceInterval(a, b, 1);
  EXPECT_EQ(first->low, again->low);
  EXPECT_EQ(first->high, again->high);
}

TEST(BootstrapInterval, OneUnitSaysNothing) {
  EXPECT_FALSE(DifferenceInterval({1.0}, {2.0}, 1));
  EXPECT_FALSE(DifferenceInterval({}, {}, 1));
}

TEST(Mean, OfNoneIsZero) {
  EXPECT_EQ(Mean({}), 0);
  EXPECT_EQ(Mean({1.0, 2.0}), 1.5);
}

}  // namespace
}  // namespace sieve
