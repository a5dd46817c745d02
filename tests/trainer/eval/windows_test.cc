#include "trainer/eval/windows.h"

#include <gtest/gtest.h>

#include <set>

namespace sieve {
namespace {

void ExpectWindow(const ScoredWindow& window, int64_t begin, int64_t scored, int64_t end) {
  EXPECT_EQ(window.begin, begin);
  EXPECT_EQ(window.scored, scored);
  EXPECT_EQ(window.end, end);
}

TEST(ScoredWindows, NothingToPredict) {
  EXPECT_TRUE(ScoredWindows(0, 8, 8, 0).empty());
  EXPECT_TRUE(ScoredWindows(1, 8, 8, 0).empty());
}

TEST(ScoredWindows, AWindowLongerThanTheText) {
  const auto windows = ScoredWindows(5, 8, 4, 0);
  ASSERT_EQ(windows.size(), 1);
  ExpectWindow(windows[0], 0, 1, 5);
}

TEST(ScoredWindows, OneWholeWindow) {
  const auto windows = ScoredWindows(8, 8, 8, 0);
  ASSERT_EQ(windows.size(), 1);
  ExpectWindow(windows[0], 0, 1, 8);
}

TEST(ScoredWindows, WindowsSideBySide) {
  const auto windows = ScoredWindows(20, 8, 8, 0);
  ASSERT_EQ(windows.size(), 3);
  ExpectWindow(windows[1], 8, 9, 16);
  ExpectWindow(windows[2], 16, 17, 20);
}

TEST(ScoredWindows, ALastTokenAloneIsNotPredicted) {
  EXPECT_EQ(ScoredWindows(17, 8, 8, 0).size(), 2);
}

TEST(ScoredWindows, TheEndIsNoMultipleOfTheStride) {
  const auto windows = ScoredWindows(15, 8, 3, 0);
  ASSERT_EQ(windows.size(), 4);
  ExpectWindow(windows[0], 0, 1, 8);
  ExpectWindow(windows[1], 3, 8, 11);
  ExpectWindow(windows[2], 6, 11, 14);
  ExpectWindow(windows[3], 9, 14, 15);
}

TEST(ScoredWindows, TheFirstOnes) { EXPECT_EQ(ScoredWindows(100, 8, 4, 3).size(), 3); }

TEST(ScoredWindows, OverlappingWindowsPredictEveryTokenOnce) {
  for (int64_t tokens = 0; tokens < 40; ++tokens) {
    for (int64_t window = 2; window < 12; ++window) {
      for (int64_t stride = 1; stride < window; ++stride) {
        std::multiset<int64_t> predicted;
        for (const ScoredWindow& one : ScoredWindows(tokens, window, stride, 0)) {
          EXPECT_LE(one.length(), window);
          for (int64_t t = one.scored; t < one.end; ++t) {
            EXPECT_TRUE(one.begin == 0 || t - one.begin >= window - stride);
            predicted.insert(t);
          }
        }
        ASSERT_EQ(predicted.size(), std::max<int64_t>(0, tokens - 1));
        ASSERT_EQ(std::set<int64_t>(predicted.begin(), predicted.end()).size(), predicted.size());
      }
    }
  }
}

}  // namespace
}  // namespace sieve
