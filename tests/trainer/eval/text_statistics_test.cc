#include "trainer/eval/text_statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace sieve {
namespace {

using Texts = std::vector<std::vector<int32_t>>;

TEST(DistinctNgrams, CountsDifferentOnes) {
  const std::vector<int32_t> text = {1, 2, 1, 2, 1};
  EXPECT_DOUBLE_EQ(DistinctNgrams(text, 1), 2.0 / 5);
  EXPECT_DOUBLE_EQ(DistinctNgrams(text, 2), 2.0 / 4);
  EXPECT_DOUBLE_EQ(DistinctNgrams(text, 4), 1);
  EXPECT_DOUBLE_EQ(RepeatedNgrams({7, 7, 7, 7, 7, 7}, 4), 2.0 / 3);
}

TEST(DistinctNgrams, AShortTextRepeatsNothing) {
  EXPECT_DOUBLE_EQ(DistinctNgrams({}, 1), 1);
  EXPECT_DOUBLE_EQ(DistinctNgrams({1, 1, 1}, 4), 1);
}

TEST(SelfBleu, EqualTextsAreOneAndTextsApartNearNone) {
  const std::vector<int32_t> text = {1, 2, 3, 4, 5, 6};
  for (const double bleu : SelfBleu(Texts{text, text, text})) EXPECT_DOUBLE_EQ(bleu, 1);
  for (const double bleu : SelfBleu(Texts{text, {11, 12, 13, 14, 15, 16}})) EXPECT_LT(bleu, 0.03);
}

// Against 1 2 3 4 9 9 9: precisions 4/5, 3/4, 2/3, 1/2, brevity exp(1 - 7/5).
TEST(SelfBleu, AsComputedByHand) {
  const auto bleu = SelfBleu(Texts{{1, 2, 3, 4, 5}, {1, 2, 3, 4, 9, 9, 9}});
  const double precisions = std::pow(4.0 / 5 * 3 / 4 * 2 / 3 * 1 / 2, 0.25);
  EXPECT_NEAR(bleu[0], precisions * std::exp(1 - 7.0 / 5), 1e-12);
  EXPECT_NEAR(bleu[1], std::pow(4.0 / 7 * 3 / 6 * 2 / 5 * 1 / 4, 0.25), 1e-12);
}

TEST(SelfBleu, ANgramCountsAsOftenAsInOneReference) {
  // Two of the three 1s match, for no other text has more.
  const auto bleu = SelfBleu(Texts{{1, 1, 1}, {1, 1, 2}, {1, 3, 4}});
  EXPECT_NEAR(bleu[0], std::pow(2.0 / 3 * 1.0 / 2 * 0.1 / 1, 1.0 / 3), 1e-12);
}

TEST(SelfBleu, Borders) {
  EXPECT_TRUE(SelfBleu({}).empty());
  EXPECT_EQ(SelfBleu(Texts{{1, 2, 3}}), std::vector<double>{0});
  const auto bleu = SelfBleu(Texts{{}, {1, 2}});
  EXPECT_EQ(bleu[0], 0);
  EXPECT_TRUE(std::isfinite(bleu[1]));
}

TEST(CommonPrefix, UntilTheFirstDifference) {
  EXPECT_EQ(CommonPrefix({1, 2, 3}, {1, 2, 4, 5}), 2);
  EXPECT_EQ(CommonPrefix({1, 2}, {1, 2, 4}), 2);
  EXPECT_EQ(CommonPrefix({}, {1}), 0);
}

}  // namespace
}  // namespace sieve
