#include "kernels/cuda/hopper_plan.h"

#include "gtest/gtest.h"
#include "kernels/cuda/matmul_params.h"

namespace sieve::cuda {
namespace {

constexpr int64_t kMultiprocessors = 132;

HopperPlan Plan(int64_t tokens, int64_t outputs, int64_t inputs) {
  return PlanHopperMatMul(tokens, outputs, inputs, kMultiprocessors, true);
}

int64_t Blocks(const HopperPlan& plan, int64_t tokens, int64_t outputs) {
  return (outputs + 64 * plan.bands - 1) / (64 * plan.bands) *
         ((tokens + plan.tokens - 1) / plan.tokens) * (plan.splits_chains ? 2 : 1);
}

TEST(HopperPlan, ManyTokensTakeTheLargestTiles) {
  for (const int64_t outputs : {2048, 3072, 16384}) {
    const HopperPlan plan = Plan(8192, outputs, 2048);
    EXPECT_EQ(plan.bands, 2);
    EXPECT_EQ(plan.tokens, 128);
    EXPECT_FALSE(plan.splits_chains);
  }
}

TEST(HopperPlan, FewTokensAreNotPaddedMuch) {
  EXPECT_EQ(Plan(1, 128256, 2048).tokens, 16);
  EXPECT_EQ(Plan(16, 128256, 2048).tokens, 16);
  EXPECT_EQ(Plan(32, 128256, 2048).tokens, 32);
}

TEST(HopperPlan, SmallMatricesAreSpreadOverTheChip) {
  for (const int64_t tokens : {64, 128, 256}) {
    const HopperPlan plan = Plan(tokens, 2048, 2048);
    const int64_t blocks = Blocks(plan, tokens, 2048);
    EXPECT_GE(blocks, 64) << tokens;
    EXPECT_LE(blocks, kMultiprocessors) << tokens;
  }
}

// The fastest of all tiles, as measured on an H200.
TEST(HopperPlan, DecodingTakesTheFastestTiles) {
  const auto expect = [](int64_t tokens, int64_t outputs, int64_t inputs, int bands, int tile) {
    const HopperPlan plan = Plan(tokens, outputs, inputs);
    EXPECT_EQ(plan.bands, bands) << tokens << " " << outputs;
    EXPECT_EQ(plan.tokens, tile) << tokens << " " << outputs;
  };
  expect(128, 3072, 2048, 1, 64);
  expect(128, 2048, 2048, 1, 32);
  expect(128, 16384, 2048, 1, 128);
  expect(128, 2048, 8192, 1, 64);
  expect(256, 3072, 2048, 1, 128);
  expect(256, 2048, 2048, 1, 64);
  expect(256, 16384, 2048, 2, 128);
  expect(256, 2048, 8192, 1, 128);
}

TEST(HopperPlan, TwoChainsAreSplitWhereThereAreMultiprocessorsForBoth) {
  EXPECT_TRUE(Plan(32, 2048, 8192).splits_chains);
  EXPECT_TRUE(Plan(128, 2048, 8192).splits_chains);
  for (const int64_t tokens : {1024, 8192, 32768}) {
    EXPECT_FALSE(Plan(tokens, 2048, 8192).splits_chains) << tokens;
  }
  EXPECT_FALSE(Plan(128, 2048, kChainLength).splits_chains);
  EXPECT_FALSE(Plan(128, 2048, 2 * kChainLength + 64).splits_chains);
  EXPECT_FALSE(PlanHopperMatMul(128, 2048, 8192, kMultiprocessors, false).splits_chains);
}

}  // namespace
}  // namespace sieve::cuda
