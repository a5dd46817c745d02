#include "model/sampling/logprobs.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace sieve {
namespace {

TEST(LogprobsTest, AreTheLogarithmsOfTheSoftmax) {
  const std::vector<float> logits = {1, 3, 2, 3};
  const double sum = std::exp(1.0) + 2 * std::exp(3.0) + std::exp(2.0);
  const PositionLogprobs result = LogprobsOf(logits, 2, 3);
  EXPECT_EQ(result.chosen.token_id, 2);
  EXPECT_NEAR(result.chosen.logprob, 2 - std::log(sum), 1e-6);
  ASSERT_EQ(result.top.size(), 3);
  EXPECT_EQ(result.top[0].token_id, 1);  // ties: the lowest first
  EXPECT_EQ(result.top[1].token_id, 3);
  EXPECT_EQ(result.top[2].token_id, 2);
  EXPECT_NEAR(result.top[0].logprob, 3 - std::log(sum), 1e-6);
}

TEST(LogprobsTest, AlternativesFromNoneToAll) {
  const std::vector<float> logits = {1000, -1000};
  EXPECT_TRUE(LogprobsOf(logits, 0, 0).top.empty());
  const PositionLogprobs all = LogprobsOf(logits, 1, 5);
  ASSERT_EQ(all.top.size(), 2);
  EXPECT_EQ(all.top[0].logprob, 0);
  EXPECT_EQ(all.chosen.logprob, -2000);
}

TEST(LogprobsTest, AddUpToOne) {
  std::vector<float> logits(1000);
  for (int i = 0; i < 1000; ++i) logits[i] = std::sin(i) * 8;
  double sum = 0;
  for (const TokenLogprob& token : LogprobsOf(logits, 0, 1000).top) sum += std::exp(token.logprob);
  EXPECT_NEAR(sum, 1, 1e-5);
}

}  // namespace
}  // namespace sieve
