#include "server/text_stream.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/server/fake_tokenizer.h"

namespace sieve {
namespace {

// Tokens 256, 257, ... of the tokenizer below.
enum : int32_t { kStop = 256, kSt, kOp, kXStopY };

class TextStreamTest : public testing::Test {
 protected:
  // The text of all tokens; stops at a stop text.
  std::string Stream(const std::vector<std::string>& stops, const std::vector<int32_t>& tokens) {
    TextStream stream(&tokenizer_, stops);
    std::string text;
    pieces_.clear();
    stop_.reset();
    for (const int32_t token : tokens) {
      TextStream::Piece piece = stream.Append(token, true);
      pieces_.push_back(piece.text);
      text += piece.text;
      if (piece.stop) {
        stop_ = piece.stop;
        return text;
      }
    }
    return text + stream.Finish();
  }

  std::vector<int32_t> Bytes(std::string_view text) { return tokenizer_.Encode(text, {}); }

  FakeTokenizer tokenizer_{{"STOP", "ST", "OP", "xSTOPy"}};
  std::vector<std::string> pieces_;
  std::optional<std::string> stop_;
};

TEST_F(TextStreamTest, PassesTextOnAtOnceWithoutStops) {
  EXPECT_EQ(Stream({}, {'a', kStop, 'b'}), "aSTOPb");
  EXPECT_EQ(pieces_, (std::vector<std::string>{"a", "STOP", "b"}));
}

TEST_F(TextStreamTest, SpecialTokensHaveNoText) {
  EXPECT_EQ(Stream({"<eos>"}, {'a', tokenizer_.eos(), 'b'}), "ab");
  EXPECT_FALSE(stop_);
}

TEST_F(TextStreamTest, NeverHalfACharacter) {
  EXPECT_EQ(Stream({}, Bytes("a\xf0\x9f\x98\x80z")), "a\xf0\x9f\x98\x80z");
  EXPECT_EQ(pieces_, (std::vector<std::string>{"a", "", "", "", "\xf0\x9f\x98\x80", "z"}));
}

TEST_F(TextStreamTest, AnUnfinishedCharacterEndsAsAReplacement) {
  EXPECT_EQ(Stream({}, Bytes("a\xf0\x9f")), "a\xef\xbf\xbd");
}

TEST_F(TextStreamTest, StopsWithinATokenAndAcrossTokens) {
  for (const std::vector<int32_t>& tokens : std::vector<std::vector<int32_t>>{
           {'x', kStop, 'y'}, {'x', kSt, kOp}, {'x', 'S', 'T', 'O', 'P'}, {kXStopY}}) {
    EXPECT_EQ(Stream({"STOP"}, tokens), "x");
    EXPECT_EQ(stop_, "STOP");
  }
}

TEST_F(TextStreamTest, WhatMayBecomeAStopIsHeldBackAndLetGo) {
  EXPECT_EQ(Stream({"STOP"}, {'x', kSt, 'S', 'T', 'z'}), "xSTSTz");
  EXPECT_EQ(pieces_, (std::vector<std::string>{"x", "", "ST", "", "STz"}));
  EXPECT_EQ(Stream({"STOP"}, {'x', kSt}), "xST");
}

TEST_F(TextStreamTest, TheStopThatIsCompleteFirstWins) {
  EXPECT_EQ(Stream({"TOPx", "TO", "STO"}, {kStop, 'x'}), "");
  EXPECT_EQ(stop_, "STO");
  EXPECT_EQ(Stream({"STOPx", "O"}, {kStop, 'x'}), "ST");
  EXPECT_EQ(stop_, "O");
}

TEST_F(TextStreamTest, StopsOfSeveralBytesACharacter) {
  EXPECT_EQ(Stream({"\xc3\xa9t"}, Bytes("d\xc3\xa9s \xc3\xa9t\xc3\xa9")), "d\xc3\xa9s ");
  EXPECT_EQ(stop_, "\xc3\xa9t");
  // Shares a first byte with the stop only.
  EXPECT_EQ(Stream({"\xc3\xa9t"}, Bytes("\xc3\xa8t")), "\xc3\xa8t");
  EXPECT_FALSE(stop_);
}

TEST_F(TextStreamTest, StopsThatAreNotObeyedAreText) {
  TextStream stream(&tokenizer_, std::vector<std::string>{"abab"});
  std::string text;
  for (const int32_t token : Bytes("abab")) text += stream.Append(token, false).text;
  EXPECT_EQ(text, "ab");  // the rest may begin the next one
  EXPECT_FALSE(stream.Append('a', true).stop);
  const TextStream::Piece piece = stream.Append('b', true);
  EXPECT_EQ(piece.stop, "abab");
  EXPECT_EQ(piece.text, "");
}

// However the text is cut into tokens, the same comes out.
TEST_F(TextStreamTest, TheCutIntoTokensDoesNotMatter) {
  const std::vector<std::string> stops = {"OPS", "STOPx", "P\xc3\xa9"};
  for (const char* tail : {"", "x", "\xc3\xa9", "Sz", "\xc3"}) {
    std::vector<int32_t> whole = {kStop}, halves = {kSt, kOp}, bytes = Bytes("STOP");
    for (std::vector<int32_t>* tokens : {&whole, &halves, &bytes}) {
      for (const int32_t token : Bytes(tail)) tokens->push_back(token);
    }
    const std::string text = Stream(stops, whole);
    const auto stop = stop_;
    EXPECT_EQ(Stream(stops, halves), text);
    EXPECT_EQ(stop_, stop);
    EXPECT_EQ(Stream(stops, bytes), text);
    EXPECT_EQ(stop_, stop);
  }
}

}  // namespace
}  // namespace sieve
