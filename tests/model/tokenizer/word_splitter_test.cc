#include "model/tokenizer/word_splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace sieve {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Split(PreTokenizer kind, std::string_view text) {
  std::vector<std::string> words;
  const auto splitter = WordSplitter::Create(kind);
  EXPECT_TRUE(splitter.ok()) << splitter.status();
  (*splitter)->Split(text, [&](std::string_view word) { words.emplace_back(word); });
  return words;
}

TEST(WordSplitterTest, EmptyTextHasNoWords) {
  for (const auto kind : {PreTokenizer::kGpt2, PreTokenizer::kLlama3, PreTokenizer::kSmolLm}) {
    EXPECT_TRUE(Split(kind, "").empty());
  }
}

TEST(WordSplitterTest, Gpt2) {
  EXPECT_THAT(Split(PreTokenizer::kGpt2, "I'll pay  $12,345 now!!\n\n  x'S "),
              ElementsAre("I", "'ll", " pay", " ", " $", "12", ",", "345", " now", "!!", "\n\n ",
                          " x", "'", "S", " "));
}

TEST(WordSplitterTest, Llama3) {
  EXPECT_THAT(Split(PreTokenizer::kLlama3, "I'LL pay  $12345 (now)!!\n\n  x\r\n\ty"),
              ElementsAre("I", "'LL", " pay", " ", " $", "123", "45", " (", "now", ")!!\n\n", " ",
                          " x", "\r\n", "\ty"));
}

TEST(WordSplitterTest, SmolLm) {
  EXPECT_THAT(Split(PreTokenizer::kSmolLm, "a 12  3'll x²"),
              ElementsAre("a", " ", "1", "2", "  ", "3", "'ll", " x", "²"));
}

TEST(WordSplitterTest, SpacesAreThoseOfUnicode) {
  // U+180E is a format character, U+0085 and U+3000 are spaces.
  EXPECT_THAT(Split(PreTokenizer::kGpt2, "a\u180e\u0085\u3000b"),
              ElementsAre("a", "\u180e", "\u0085", "\u3000", "b"));
}

TEST(WordSplitterTest, LettersAndNumbersNewerThanThePatternLibrary) {
  // U+11F04 (Unicode 15), U+2EBF0 (15.1) and U+1C89 (16) are letters; U+11F50 (15) and U+11DE0 (17)
  // numbers.
  EXPECT_THAT(Split(PreTokenizer::kGpt2, "a\U00011F04\U0002EBF0\u1C89!\U00011F50"),
              ElementsAre("a\U00011F04\U0002EBF0\u1C89", "!", "\U00011F50"));
  EXPECT_THAT(Split(PreTokenizer::kSmolLm, "1\U00011F50\U00011DE0\U00011DE0"),
              ElementsAre("1", "\U00011F50", "\U00011DE0", "\U00011DE0"));
}

TEST(WordSplitterTest, IllFormedBytesAreLikeTheReplacementCharacter) {
  const auto kind = PreTokenizer::kLlama3;
  EXPECT_THAT(Split(kind, "a\uFFFDb"), ElementsAre("a", "\uFFFDb"));
  EXPECT_THAT(Split(kind,
                    "a\xFF"
                    "b"),
              ElementsAre("a",
                          "\xFF"
                          "b"));
  // One subpart of three bytes is one character, before a letter like any other; two subparts are
  // two.
  EXPECT_THAT(Split(kind,
                    "a\xF0\x9F\x98"
                    "b"),
              ElementsAre("a",
                          "\xF0\x9F\x98"
                          "b"));
  EXPECT_THAT(Split(kind,
                    "a\xF0\x9F"
                    "b"),
              ElementsAre("a",
                          "\xF0\x9F"
                          "b"));
  EXPECT_THAT(Split(kind,
                    "a\xFF\xFF"
                    "b"),
              ElementsAre("a", "\xFF\xFF", "b"));
  EXPECT_THAT(Split(kind, " \xC3"), ElementsAre(" \xC3"));
}

TEST(WordSplitterTest, WordsOfAnyBytesAddUpToTheText) {
  const unsigned seed = 11;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (const auto kind : {PreTokenizer::kGpt2, PreTokenizer::kLlama3, PreTokenizer::kSmolLm}) {
    for (int round = 0; round < 200; ++round) {
      std::string text(random() % 200, 0);
      for (char& c : text) c = random() % 3 == 0 ? random() % 256 : " \n'sa1\xC3\xA9"[random() % 8];
      std::string sum;
      for (const std::string& word : Split(kind, text)) sum += word;
      EXPECT_EQ(sum, text);
    }
  }
}

TEST(WordSplitterTest, LongRunsAreOneWordEach) {
  constexpr size_t kLength = 3'000'000;
  for (const auto kind : {PreTokenizer::kGpt2, PreTokenizer::kLlama3, PreTokenizer::kSmolLm}) {
    for (const char c : {'a', ' ', '\n', '='}) {
      EXPECT_THAT(Split(kind, std::string(kLength, c)), ElementsAre(std::string(kLength, c)));
    }
    EXPECT_EQ(Split(kind, std::string(kLength, ' ') + "x").size(), 2u);
  }
}

}  // namespace
}  // namespace sieve
