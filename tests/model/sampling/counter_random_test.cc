#include "model/sampling/counter_random.h"

#include <gtest/gtest.h>

#include <set>

namespace sieve {
namespace {

using Four = std::array<uint32_t, 4>;

// The known answers that the authors publish with the generator.
TEST(CounterRandomTest, IsPhilox) {
  EXPECT_EQ(Philox({0, 0, 0, 0}, {0, 0}), (Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(CounterRandomTest, SeedSampleAndPositionAllMatter) {
  std::set<double> seen;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32, ~uint64_t{0}}) {
    for (const int32_t sample : {0, 1, 7}) {
      for (const int64_t position : {int64_t{0}, int64_t{1}, int64_t{1} << 32}) {
        EXPECT_TRUE(seen.insert(UniformAt(seed, sample, position)).second);
      }
    }
  }
}

TEST(CounterRandomTest, IsUniform) {
  constexpr int kDraws = 100000;
  constexpr int kBins = 20;
  int bins[kBins] = {};
  for (int i = 0; i < kDraws; ++i) {
    const double u = UniformAt(5, i % 4, i / 4);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    ++bins[static_cast<int>(u * kBins)];
  }
  double chi_square = 0;
  for (const int count : bins) {
    const double expected = static_cast<double>(kDraws) / kBins;
    chi_square += (count - expected) * (count - expected) / expected;
  }
  EXPECT_LT(chi_square, 43.8);  // 19 degrees of freedom, p = 0.001
}

}  // namespace
}  // namespace sieve
