#include "server/stop_matcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace sieve {
namespace {

TEST(StopMatcherTest, NoTexts) {
  StopMatcher matcher({});
  EXPECT_EQ(matcher.Advance('a'), -1);
  EXPECT_EQ(matcher.pending(), 0);
}

TEST(StopMatcherTest, HoldsBackTheLongestBeginning) {
  StopMatcher matcher({"abcd", "bx"});
  const std::string stream = "zabc";
  const size_t pending[] = {0, 1, 2, 3};
  for (size_t i = 0; i < stream.size(); ++i) {
    EXPECT_EQ(matcher.Advance(stream[i]), -1);
    EXPECT_EQ(matcher.pending(), pending[i]);
  }
  EXPECT_EQ(matcher.Advance('x'), -1);
  EXPECT_EQ(matcher.pending(), 0);
}

TEST(StopMatcherTest, AmongThoseThatEndTogetherTheLongest) {
  StopMatcher matcher({"c", "abc", "bc"});
  EXPECT_EQ(matcher.Advance('a'), -1);
  EXPECT_EQ(matcher.Advance('b'), -1);
  EXPECT_EQ(matcher.Advance('c'), 1);
}

// Against the definition, on an alphabet of two letters so that overlaps are everywhere.
TEST(StopMatcherTest, AgreesWithTheDefinition) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const auto word = [&](int length) {
    std::string text;
    while (text.size() < length) text.push_back('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string> texts;
    for (int i = random() % 4; i >= 0; --i) texts.push_back(word(1 + random() % 6));
    StopMatcher matcher(texts);
    const std::string stream = word(60);
    for (size_t end = 1; end <= stream.size(); ++end) {
      const std::string seen = stream.substr(0, end);
      size_t longest = 0;
      size_t pending = 0;
      for (const std::string& text : texts) {
        if (seen.ends_with(text)) longest = std::max(longest, text.size());
        for (size_t part = 1; part < text.size(); ++part) {
          if (seen.ends_with(text.substr(0, part))) pending = std::max(pending, part);
        }
      }
      const int found = matcher.Advance(stream[end - 1]);
      ASSERT_EQ(found < 0 ? 0 : matcher.text(found).size(), longest);
      ASSERT_EQ(matcher.pending(), pending);
    }
  }
}

}  // namespace
}  // namespace sieve
