#include "model/tokenizer/utf8_stream.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace sieve {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";

// The text of `bytes`, appended `step` bytes at a time.
std::string Decode(std::string_view bytes, size_t step) {
  Utf8Stream stream;
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += step) text += stream.Append(bytes.substr(i, step));
  return text + stream.Finish();
}

TEST(Utf8StreamTest, HoldsBackAnIncompleteCharacter) {
  Utf8Stream stream;
  EXPECT_EQ(stream.Append("a\xF0\x9F"), "a");
  EXPECT_EQ(stream.Append("\x98"), "");
  EXPECT_EQ(stream.Append("\x80z"), "\xF0\x9F\x98\x80z");
  EXPECT_EQ(stream.Finish(), "");
}

TEST(Utf8StreamTest, FinishReplacesWhatIsHeldBackOnceAndEmptiesTheStream) {
  Utf8Stream stream;
  EXPECT_EQ(stream.Append("\xF0\x9F\x98"), "");
  EXPECT_EQ(stream.Finish(), kReplacement);
  EXPECT_EQ(stream.Finish(), "");
  EXPECT_EQ(stream.Append("a"), "a");
}

TEST(Utf8StreamTest, AnAbortedCharacterIsReplacedAsSoonAsItIsCertain) {
  Utf8Stream stream;
  EXPECT_EQ(stream.Append("\xE2\x82"), "");
  EXPECT_EQ(stream.Append("x"), std::string(kReplacement) + "x");
}

TEST(Utf8StreamTest, ReplacesEachMaximalSubpart) {
  const auto r = [](int n) {
    std::string text;
    for (int i = 0; i < n; ++i) text += kReplacement;
    return text;
  };
  // The examples of Unicode 15, tables 3-8 to 3-11.
  EXPECT_EQ(Decode("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", 1), r(8) + "A");
  EXPECT_EQ(Decode("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", 1), r(8) + "A");
  EXPECT_EQ(Decode("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", 1), r(5) + "A" + r(2) + "B");
  EXPECT_EQ(Decode("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", 1), r(4) + "A");
}

TEST(Utf8StreamTest, TheTextDoesNotDependOnHowTheBytesAreCut) {
  const unsigned seed = 7;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  // Mostly bytes that matter to the decoder.
  const std::string alphabet =
      "a\x80\x8F\x90\x9F\xA0\xBF\xC0\xC2\xDF\xE0\xE1\xED\xEF\xF0\xF1\xF4\xF5";
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 40, 0);
    for (char& c : bytes) c = alphabet[random() % alphabet.size()];
    const std::string whole = Decode(bytes, 100);
    EXPECT_TRUE(IsValidUtf8(whole));
    for (const size_t step : {1, 2, 3, 5}) EXPECT_EQ(Decode(bytes, step), whole);
    if (IsValidUtf8(bytes)) {
      EXPECT_EQ(whole, bytes);
    }
  }
}

TEST(IsValidUtf8Test, AcceptsTheBordersOfEachLength) {
  for (const char* text :
       {"", "\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
        "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_TRUE(IsValidUtf8(text)) << testing::PrintToString(text);
  }
  EXPECT_TRUE(IsValidUtf8(std::string_view("\0", 1)));
}

TEST(IsValidUtf8Test, NamesTheFirstBadByte) {
  const struct {
    const char* text;
    size_t offset;
  } kCases[] = {
      {"\x80", 0},           {"abcdefghij\xC3", 10},  {"\xC1\xBF", 0},     {"a\xE0\x9F\xBF", 1},
      {"\xED\xA0\x80", 0},   {"\xF0\x8F\xBF\xBF", 0}, {"\xF5\x80\x80", 0}, {"\xF4\x90\x80\x80", 0},
      {"\xC3\xA9\xC3(x", 2}, {"12345678\xFF", 8},     {"1234567\xFE", 7},
  };
  for (const auto& test : kCases) {
    size_t offset = 99;
    EXPECT_FALSE(IsValidUtf8(test.text, &offset));
    EXPECT_EQ(offset, test.offset) << testing::PrintToString(test.text);
  }
}

}  // namespace
}  // namespace sieve
