#include "client/wrap_text.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace sieve {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(WrapTextTest, BreaksAtSpaces) {
  EXPECT_THAT(WrapText("one two three", 8), ElementsAre("one two ", "three   "));
  EXPECT_THAT(WrapText("one two", 7), ElementsAre("one two"));
  EXPECT_THAT(WrapText("one two", 6), ElementsAre("one   ", "two   "));
  EXPECT_THAT(WrapText("", 6), IsEmpty());
}

TEST(WrapTextTest, KeepsLinesAndIndentation) {
  EXPECT_THAT(WrapText("a\n\n  b\n", 4), ElementsAre("a   ", "    ", "  b "));
  EXPECT_THAT(WrapText("\n", 3), ElementsAre("   "));
}

TEST(WrapTextTest, CutsWhatIsLongerThanALine) {
  EXPECT_THAT(WrapText("abcdefgh", 3), ElementsAre("abc", "def", "gh "));
  EXPECT_THAT(WrapText("a bcdef", 3), ElementsAre("a  ", "bcd", "ef "));
}

// Accents that stand by themselves take no column, ideographs take two.
TEST(WrapTextTest, CountsColumnsNotBytes) {
  EXPECT_THAT(WrapText("\u00e9\u00e9\u00e9\u00e9", 3),
              ElementsAre("\u00e9\u00e9\u00e9", "\u00e9  "));
  EXPECT_THAT(WrapText("\u4f60\u597d", 3), ElementsAre("\u4f60 ", "\u597d "));
  EXPECT_THAT(WrapText("e\u0301x", 2), ElementsAre("e\u0301x"));
  EXPECT_THAT(WrapText("\U0001F600", 4), ElementsAre("\U0001F600  "));
}

TEST(WrapTextTest, NothingMovesTheCursor) {
  EXPECT_THAT(WrapText("a\x1b[2Jb\rc\td\x7f\u009b", 10), ElementsAre("a[2Jbc d  "));
}

}  // namespace
}  // namespace sieve
