#include "trainer/eval/token_score.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "tests/kernels/random_data.h"

namespace sieve {
namespace {

std::vector<double> LogSoftmax(const std::vector<float>& logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - max);
  std::vector<double> out;
  for (const float logit : logits) out.push_back(logit - max - std::log(sum));
  return out;
}

TEST(TokenScorer, IsWhatTheFormulasSay) {
  constexpr uint64_t kSeed = 11;
  SCOPED_TRACE(kSeed);
  std::mt19937_64 random(kSeed);
  TokenScorer scorer;
  for (const int64_t vocabulary : {1, 7, 8, 9, 1000}) {
    const std::vector<float> dense = RandomFloats(random, vocabulary, 5);
    const std::vector<float> sparse = RandomFloats(random, vocabulary, 5);
    const auto a = LogSoftmax(dense), b = LogSoftmax(sparse);
    double kl = 0;
    for (int64_t i = 0; i < vocabulary; ++i) kl += std::exp(a[i]) * (a[i] - b[i]);
    const auto best = [](const std::vector<double>& v) {
      return std::max_element(v.begin(), v.end()) - v.begin();
    };
    scorer.SetDense(dense);
    for (const int32_t next : {int32_t{0}, static_cast<int32_t>(vocabulary - 1)}) {
      const TokenScore score = scorer.Score(sparse, next);
      EXPECT_NEAR(score.dense_nll, -a[next], 1e-6);
      EXPECT_NEAR(score.sparse_nll, -b[next], 1e-6);
      EXPECT_NEAR(score.kl, kl, 1e-5);
      EXPECT_EQ(score.agrees, best(a) == best(b));
    }
  }
}

TEST(TokenScorer, OfItselfNothingIsLost) {
  std::mt19937_64 random(3);
  const std::vector<float> logits = RandomFloats(random, 500, 8);
  TokenScorer scorer;
  scorer.SetDense(logits);
  const TokenScore score = scorer.Score(logits, 17);
  EXPECT_EQ(score.dense_nll, score.sparse_nll);
  EXPECT_EQ(score.kl, 0);
  EXPECT_TRUE(score.agrees);
}

}  // namespace
}  // namespace sieve
