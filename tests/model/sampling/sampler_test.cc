#include "model/sampling/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "model/sampling/counter_random.h"

namespace sieve {
namespace {

const std::vector<float> kLogits = {0, 1, 2, 3, 2.5, -1, -2, 0.5};
constexpr int kDraws = 20000;

// What a specification written for clarity gives each token.
std::vector<double> Reference(const std::vector<float>& logits, const SamplingParams& params) {
  const int size = logits.size();
  std::vector<int> order(size);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  std::vector<double> weight(size);
  for (int i = 0; i < size; ++i) {
    weight[i] = std::exp((static_cast<double>(logits[i]) - logits[order[0]]) / params.temperature);
  }
  int kept = params.top_k > 0 ? std::min(params.top_k, size) : size;
  double mass = 0;
  for (int i = 0; i < kept; ++i) mass += weight[order[i]];
  if (params.top_p < 1) {
    double sum = 0;
    int nucleus = 0;
    while (nucleus < kept && sum < params.top_p * mass) sum += weight[order[nucleus++]];
    kept = nucleus;
  }
  std::vector<double> probability(size, 0);
  double total = 0;
  for (int i = 0; i < kept; ++i) {
    if (weight[order[i]] < params.min_p) continue;
    probability[order[i]] = weight[order[i]];
    total += weight[order[i]];
  }
  for (double& p : probability) p /= total;
  return probability;
}

// Draws many times; the counts follow the reference and nothing impossible comes.
void ExpectDistribution(const std::vector<float>& logits, const SamplingParams& params) {
  const std::vector<double> probability = Reference(logits, params);
  std::vector<int> counts(logits.size(), 0);
  Sampler sampler;
  for (int i = 0; i < kDraws; ++i) {
    const auto token = sampler.Draw(logits, params, nullptr, {}, UniformAt(99, 0, i));
    ASSERT_TRUE(token.ok());
    ++counts[*token];
  }
  double chi_square = 0;
  int degrees = -1;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double expected = probability[i] * kDraws;
    EXPECT_TRUE(expected > 0 || counts[i] == 0) << "token " << i;
    if (expected < 1) continue;
    chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
    ++degrees;
  }
  // About p = 0.001 by the approximation of Wilson and Hilferty.
  const double d = std::max(degrees, 1);
  EXPECT_LT(chi_square, d * std::pow(1 - 2 / (9 * d) + 3.1 * std::sqrt(2 / (9 * d)), 3));
}

SamplingParams Params(float temperature, int32_t top_k = 0, float top_p = 1, float min_p = 0) {
  SamplingParams params;
  params.temperature = temperature;
  params.top_k = top_k;
  params.top_p = top_p;
  params.min_p = min_p;
  return params;
}

int32_t DrawOne(const std::vector<float>& logits, const SamplingParams& params,
                const TokenHistory* history = nullptr, std::vector<int32_t> banned = {},
                double uniform = 0.5) {
  Sampler sampler;
  const auto token = sampler.Draw(logits, params, history, banned, uniform);
  EXPECT_TRUE(token.ok()) << token.status();
  return token.value_or(-1);
}

TEST(SamplerTest, Temperature) {
  for (const float temperature : {0.1f, 0.5f, 1.0f, 2.0f, 100.0f}) {
    SCOPED_TRACE(temperature);
    ExpectDistribution(kLogits, Params(temperature));
  }
}

TEST(SamplerTest, TopK) {
  for (const int32_t k : {1, 2, 3, 7, 8, 9, 1000}) {
    SCOPED_TRACE(k);
    ExpectDistribution(kLogits, Params(1, k));
  }
}

TEST(SamplerTest, TopP) {
  for (const float p : {1e-30f, 0.1f, 0.45f, 0.5f, 0.9f, 0.99f, 0.99999994f, 1.0f}) {
    SCOPED_TRACE(p);
    ExpectDistribution(kLogits, Params(1, 0, p));
  }
}

TEST(SamplerTest, MinP) {
  for (const float p : {0.0f, 1e-30f, 0.1f, 0.2f, 0.6f, 0.61f, 1.0f}) {
    SCOPED_TRACE(p);
    ExpectDistribution(kLogits, Params(1, 0, 1, p));
  }
}

TEST(SamplerTest, AllTogether) {
  for (const float temperature : {0.7f, 1.5f}) {
    ExpectDistribution(kLogits, Params(temperature, 5, 0.9f, 0.1f));
    ExpectDistribution(kLogits, Params(temperature, 6, 0.95f));
    ExpectDistribution(kLogits, Params(temperature, 0, 0.9f, 0.3f));
    ExpectDistribution(kLogits, Params(temperature, 4, 1, 0.2f));
  }
}

TEST(SamplerTest, TopPKeepsExactlyTheNucleusOfALongTail) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(300);
  for (float& logit : logits) logit = normal(random);
  for (const float p : {0.05f, 0.5f, 0.95f}) {
    const std::vector<double> probability = Reference(logits, Params(1, 0, p));
    std::vector<bool> drawn(logits.size(), false);
    for (int i = 0; i < 3000; ++i)
      drawn[DrawOne(logits, Params(1, 0, p), nullptr, {}, i / 3e3)] = true;
    for (size_t token = 0; token < logits.size(); ++token) {
      EXPECT_TRUE(!drawn[token] || probability[token] > 0) << token;
      EXPECT_TRUE(drawn[token] || probability[token] < 1e-3) << token;
    }
  }
}

TEST(SamplerTest, TiesGoToTheLowestId) {
  const std::vector<float> equal(10, 2.0f);
  EXPECT_EQ(DrawOne(equal, Params(0)), 0);
  EXPECT_EQ(DrawOne(equal, Params(1, 1), nullptr, {}, 0.99), 0);
  std::set<int32_t> drawn;
  for (double u = 0; u < 1; u += 0.01) {
    drawn.insert(DrawOne(equal, Params(1, 3), nullptr, {}, u));
    drawn.insert(DrawOne(equal, Params(1, 0, 0.25f), nullptr, {}, u));
  }
  EXPECT_EQ(drawn, (std::set<int32_t>{0, 1, 2}));
}

TEST(SamplerTest, UniformAtTheEnds) {
  const double almost_one = 1 - 0x1p-53;
  EXPECT_EQ(DrawOne(kLogits, Params(1), nullptr, {}, 0), 0);
  EXPECT_EQ(DrawOne(kLogits, Params(1), nullptr, {}, almost_one), 7);
  EXPECT_EQ(DrawOne(kLogits, Params(1), nullptr, {0}, 0), 1);
  EXPECT_EQ(DrawOne(kLogits, Params(1), nullptr, {7}, almost_one), 6);
  EXPECT_EQ(DrawOne({5}, Params(1), nullptr, {}, almost_one), 0);
}

TEST(SamplerTest, GreedyTakesTheMostProbable) {
  EXPECT_EQ(DrawOne(kLogits, Params(0)), 3);
  EXPECT_EQ(DrawOne(kLogits, Params(0), nullptr, {3}), 4);
}

TEST(SamplerTest, VanishingTemperatureIsGreedy) {
  for (const float temperature : {1e-3f, 1e-30f, 1e-45f}) {
    for (const double u : {0.0, 0.5, 0.999999}) {
      EXPECT_EQ(DrawOne(kLogits, Params(temperature), nullptr, {}, u), 3);
      EXPECT_EQ(DrawOne(kLogits, Params(temperature, 4, 0.9f, 0.1f), nullptr, {}, u), 3);
    }
  }
}

TEST(SamplerTest, LogitBias) {
  SamplingParams params = Params(0);
  params.logit_bias = {{3, -1000}, {0, 2.75f}};
  EXPECT_EQ(DrawOne(kLogits, params), 0);
  params.logit_bias = {{6, 1000}};
  EXPECT_EQ(DrawOne(kLogits, params), 6);
  constexpr float kMax = std::numeric_limits<float>::max();
  params.logit_bias = {{1, 1000}};
  EXPECT_EQ(DrawOne({kMax, kMax, -kMax}, params), 0);
}

TEST(SamplerTest, RepetitionPenaltyLooksAtPromptAndOutput) {
  SamplingParams params = Params(0);
  params.repetition_penalty = 2;
  TokenHistory history(std::vector<int32_t>{3});
  EXPECT_EQ(DrawOne(kLogits, params, &history), 4);  // 3 / 2 < 2.5
  history.Append(4);
  EXPECT_EQ(DrawOne(kLogits, params, &history), 2);
  const std::vector<float> negative = {-1, -1.5};
  EXPECT_EQ(DrawOne(negative, params), 0);
  EXPECT_EQ(
      DrawOne(negative, params, std::make_unique<TokenHistory>(std::vector<int32_t>{0}).get()),
      1);  // -1 * 2 < -1.5
}

TEST(SamplerTest, PresenceAndFrequencyLookAtTheOutputOnly) {
  SamplingParams presence = Params(0), frequency = Params(0);
  presence.presence_penalty = 0.75f;
  frequency.frequency_penalty = 0.3f;
  TokenHistory history(std::vector<int32_t>{3, 3, 3, 3});
  EXPECT_EQ(DrawOne(kLogits, presence, &history), 3);
  EXPECT_EQ(DrawOne(kLogits, frequency, &history), 3);
  history.Append(3);
  EXPECT_EQ(DrawOne(kLogits, presence, &history), 4);
  EXPECT_EQ(DrawOne(kLogits, frequency, &history), 3);
  history.Append(3);
  EXPECT_EQ(DrawOne(kLogits, frequency, &history), 4);
  frequency.frequency_penalty = -0.3f;
  EXPECT_EQ(DrawOne(kLogits, frequency, &history), 3);
}

TEST(SamplerTest, ExtremePenaltiesStayDefined) {
  TokenHistory history(std::vector<int32_t>{0, 1, 5});
  for (int i = 0; i < 1000; ++i) history.Append(3);
  for (const float repetition : {1e-45f, 1e-20f, 10.0f}) {
    for (const float penalty : {-10.0f, 10.0f}) {
      for (const float temperature : {0.0f, 1e-45f, 1.0f, 100.0f}) {
        SamplingParams params = Params(temperature, 5, 0.9f, 0.01f);
        params.repetition_penalty = repetition;
        params.presence_penalty = params.frequency_penalty = penalty;
        const int32_t token = DrawOne(kLogits, params, &history);
        EXPECT_GE(token, 0);
        EXPECT_LT(token, kLogits.size());
      }
    }
  }
}

TEST(SamplerTest, BannedTokensNeverCome) {
  for (const SamplingParams& params :
       {Params(0), Params(1), Params(100, 7), Params(100, 0, 0.99f), Params(100, 0, 1, 0.0001f)}) {
    for (double u = 0; u < 1; u += 0.01) {
      const int32_t token = DrawOne(kLogits, params, nullptr, {3, 4, 2, 3}, u);
      EXPECT_TRUE(token != 2 && token != 3 && token != 4) << token;
    }
  }
}

TEST(SamplerTest, RefusesRowsWithoutAnAnswer) {
  Sampler sampler;
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    std::vector<float> logits = kLogits;
    logits[5] = bad;
    for (const SamplingParams& params : {Params(0), Params(1), Params(1, 2)}) {
      EXPECT_EQ(sampler.Draw(logits, params, nullptr, {}, 0.5).status().code(),
                absl::StatusCode::kInternal);
    }
  }
  const std::vector<int32_t> all = {0, 1, 2, 3, 4, 5, 6, 7};
  for (const SamplingParams& params : {Params(0), Params(1), Params(1, 2, 0.5f, 0.1f)}) {
    EXPECT_EQ(sampler.Draw(kLogits, params, nullptr, all, 0.5).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(SamplerTest, ScratchOfAnEarlierDrawDoesNotShow) {
  Sampler used;
  const std::vector<float> large(1000, 1.0f);
  SamplingParams biased = Params(1, 3);
  biased.logit_bias = {{0, 5}};
  ASSERT_TRUE(used.Draw(large, biased, nullptr, std::vector<int32_t>{1}, 0.3).ok());
  for (double u = 0; u < 1; u += 0.05) {
    for (const SamplingParams& params : {Params(1), Params(1, 3), Params(1, 0, 0.7f)}) {
      EXPECT_EQ(*used.Draw(kLogits, params, nullptr, {}, u),
                DrawOne(kLogits, params, nullptr, {}, u));
    }
  }
}

}  // namespace
}  // namespace sieve
