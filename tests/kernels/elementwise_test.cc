#include "kernels/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/kernels/random_data.h"

namespace sieve {
namespace {

TEST(RmsNorm, AgreesWithTheSpecification) {
  std::mt19937_64 random(TestSeed());
  for (int64_t n : {1, 5, 8, 64, 576, 577}) {
    for (float scale : {1e-6f, 1.0f, 1e4f}) {
      const std::vector<float> x = RandomFloats(random, n, scale), w = RandomFloats(random, n);
      std::vector<float> got(n), want(n);
      RmsNorm(x.data(), w.data(), 1e-5, n, got.data());
      RmsNormReference(x.data(), w.data(), 1e-5, n, want.data());
      EXPECT_LT(RelativeError(got, want), 1e-6) << n;
    }
  }
}

TEST(SwiGlu, AgreesWithTheSpecificationOverTheWholeRange) {
  std::mt19937_64 random(TestSeed());
  for (int64_t n : {1, 8, 31, 1536}) {
    for (float scale : {0.1f, 3.0f, 100.0f}) {
      const std::vector<float> g = RandomFloats(random, n, scale), u = RandomFloats(random, n);
      std::vector<float> got(n), want(n);
      SwiGlu(g.data(), u.data(), n, got.data());
      SwiGluReference(g.data(), u.data(), n, want.data());
      EXPECT_LT(RelativeError(got, want), 1e-6) << n << " " << scale;
    }
  }
}

TEST(SwiGlu, BordersOfTheExponential) {
  const float inf = std::numeric_limits<float>::infinity();
  const float g[8] = {0, -0.0f, 200, -200, 88.5f, -88.5f, inf, std::nanf("")};
  const float u[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  float out[8];
  SwiGlu(g, u, 8, out);
  EXPECT_EQ(out[0], 0);
  EXPECT_EQ(out[1], 0);
  EXPECT_EQ(out[2], 200);
  EXPECT_NEAR(out[3], 0, 1e-30);
  EXPECT_EQ(out[4], 88.5f);
  EXPECT_NEAR(out[5], 0, 1e-30);
  EXPECT_EQ(out[6], inf);
  EXPECT_TRUE(std::isnan(out[7]));
}

TEST(Rope, RotatesPairs) {
  const float cosines[2] = {0, std::cos(0.3f)}, sines[2] = {1, std::sin(0.3f)};
  float half[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  ApplyRope(half, 2, 4, cosines, sines, /*interleaved=*/false);
  EXPECT_FLOAT_EQ(half[0], -3);  // (1, 3) by a right angle
  EXPECT_FLOAT_EQ(half[2], 1);
  EXPECT_FLOAT_EQ(half[5], 6 * std::cos(0.3f) - 8 * std::sin(0.3f));
  EXPECT_FLOAT_EQ(half[7], 6 * std::sin(0.3f) + 8 * std::cos(0.3f));
  float pairs[4] = {1, 2, 3, 4};
  ApplyRope(pairs, 1, 4, cosines, sines, /*interleaved=*/true);
  EXPECT_FLOAT_EQ(pairs[0], -2);
  EXPECT_FLOAT_EQ(pairs[1], 1);
  EXPECT_FLOAT_EQ(pairs[2], 3 * std::cos(0.3f) - 4 * std::sin(0.3f));
}

}  // namespace
}  // namespace sieve
