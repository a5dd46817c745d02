#include "client/compare_view.h"

#include <sstream>

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace sieve {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

TEST(BlockViewTest, TheFirstStreamsAndTheSecondWaits) {
  std::ostringstream out;
  const auto view = MakeBlockView({"a", "b"}, &out);
  view->Append(1, "two");
  EXPECT_EQ(out.str(), "");
  view->Append(0, "on");
  EXPECT_EQ(out.str(), "--- a ---\non");
  view->Append(0, "e");
  EXPECT_EQ(out.str(), "--- a ---\none");
  view->End(0);
  EXPECT_EQ(out.str(), "--- a ---\none\n--- b ---\ntwo");
  view->Append(1, "!\n");
  view->End(1);
  view->Finish();
  EXPECT_EQ(out.str(), "--- a ---\none\n--- b ---\ntwo!\n");
}

TEST(BlockViewTest, ShowsWhatWasHeldBackAtTheEnd) {
  std::ostringstream out;
  const auto view = MakeBlockView({"a", "b"}, &out);
  view->Append(1, "two");
  view->Finish();
  EXPECT_EQ(out.str(), "--- a ---\n--- b ---\ntwo\n");
}

// What a terminal shows after these bytes: it knows "up N lines" and "clear to the end".
std::vector<std::string> Screen(const std::string& bytes) {
  std::vector<std::string> lines(1);
  size_t row = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] == '\x1b') {
      size_t end = i + 2;
      while (std::isdigit(bytes[end])) ++end;
      if (bytes[end] == 'A') row -= std::stoi(bytes.substr(i + 2));
      if (bytes[end] == 'J') lines.resize(row + 1), lines[row].clear();
      i = end;
    } else if (bytes[i] == '\n') {
      if (++row == lines.size()) lines.emplace_back();
    } else if (bytes[i] != '\r') {
      lines[row] += bytes[i];
    }
  }
  lines.pop_back();  // the cursor's, empty
  return lines;
}

constexpr TerminalSize kSmall = {.columns = 12, .rows = 5};  // two columns of 4, two rows of text

TEST(ColumnViewTest, TwoColumnsGrow) {
  std::ostringstream out;
  const auto view = MakeColumnView({"left", "right"}, kSmall, &out);
  EXPECT_THAT(Screen(out.str()), ElementsAre("left | righ", "---- | ----"));
  view->Append(0, "a b c d");
  view->End(0);
  EXPECT_THAT(Screen(out.str()),
              ElementsAre("left | righ", "---- | ----", "a b  |     ", "c d  |     "));
  view->Append(1, "x");
  view->End(1);
  EXPECT_THAT(Screen(out.str()),
              ElementsAre("left | righ", "---- | ----", "a b  | x   ", "c d  |     "));
}

TEST(ColumnViewTest, TheLastLinesAreShownAndInTheEndAll) {
  std::ostringstream out;
  const auto view = MakeColumnView({"left", "right"}, kSmall, &out);
  view->Append(0, "1\n2\n3\n4");
  view->End(0);
  view->Append(1, "one");
  view->End(1);
  EXPECT_THAT(Screen(out.str()),
              ElementsAre("left | righ", "---- | ----", "3    | one ", "4    |     "));
  view->Finish();
  EXPECT_THAT(Screen(out.str()), ElementsAre("left | righ", "---- | ----", "1    | one ",
                                             "2    |     ", "3    |     ", "4    |     "));
}

// A view that drew each token would write a screen for each.
TEST(ColumnViewTest, TokensThatComeTogetherAreDrawnTogether) {
  std::ostringstream out;
  const auto view = MakeColumnView({"left", "right"}, kSmall, &out);
  for (int i = 0; i < 1000; ++i) view->Append(0, "a ");
  EXPECT_LT(out.str().size(), 10000);
  view->Finish();
  EXPECT_EQ(Screen(out.str()).size(), 2 + 500);
}

}  // namespace
}  // namespace sieve
