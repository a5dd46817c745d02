#include "model/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

namespace sieve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Kind = Vocabulary::Kind;

// Tokens 0 to 255 are the bytes.
Vocabulary Bytes() {
  Vocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back({std::string(1, static_cast<char>(byte)), Kind::kNormal});
  }
  return vocabulary;
}

Vocabulary WithAdded(const std::vector<std::pair<std::string, Kind>>& added) {
  Vocabulary vocabulary = Bytes();
  for (const auto& [name, kind] : added) vocabulary.tokens.push_back({name, kind});
  return vocabulary;
}

std::unique_ptr<Tokenizer> Make(Vocabulary vocabulary) {
  auto tokenizer = Tokenizer::Create(std::move(vocabulary));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

constexpr EncodeOptions kPlain = {.add_special_tokens = false, .parse_special_tokens = false};
constexpr EncodeOptions kParse = {.add_special_tokens = false, .parse_special_tokens = true};

TEST(TokenizerTest, SpecialTokensComeFromTextOnlyWhenAllowed) {
  const auto tokenizer = Make(WithAdded({{"<s>", Kind::kSpecial}}));
  EXPECT_THAT(tokenizer->Encode("a<s>", kParse), ElementsAre('a', 256));
  EXPECT_THAT(tokenizer->Encode("a<s>", kPlain), ElementsAre('a', '<', 's', '>'));
  EXPECT_THAT(tokenizer->Encode("<s<s>", kParse), ElementsAre('<', 's', 256));
}

TEST(TokenizerTest, UserDefinedTokensAlwaysComeFromText) {
  const auto tokenizer = Make(WithAdded({{"xy", Kind::kUserDefined}, {"xyz", Kind::kUserDefined}}));
  EXPECT_THAT(tokenizer->Encode("xyzxyxy", kPlain), ElementsAre(257, 256, 256));
}

TEST(TokenizerTest, TheLongestOfTheLeftmostMatchesWins) {
  const auto tokenizer = Make(WithAdded({{"ab", Kind::kSpecial},
                                         {"abcd", Kind::kSpecial},
                                         {"bcdef", Kind::kSpecial},
                                         {"\xFF\xFE", Kind::kSpecial}}));
  EXPECT_THAT(tokenizer->Encode("abcdef", kParse), ElementsAre(257, 'e', 'f'));
  EXPECT_THAT(tokenizer->Encode("abcef", kParse), ElementsAre(256, 'c', 'e', 'f'));
  EXPECT_THAT(tokenizer->Encode("bcdef\xFF\xFE", kParse), ElementsAre(258, 259));
  EXPECT_THAT(tokenizer->Encode("ab", kParse), ElementsAre(256));
  EXPECT_THAT(tokenizer->Encode("a", kParse), ElementsAre('a'));
}

TEST(TokenizerTest, TextEndsWhereAnAddedTokenBegins) {
  // Before a letter the last of several spaces belongs to the next word; before an added token it
  // does not.
  Vocabulary vocabulary = WithAdded({{"<s>", Kind::kSpecial}, {"  ", Kind::kNormal}});
  vocabulary.merges = {{' ', ' '}};
  const auto tokenizer = Make(std::move(vocabulary));
  EXPECT_THAT(tokenizer->Encode("  <s>", kParse), ElementsAre(257, 256));
  EXPECT_THAT(tokenizer->Encode("  x", kParse), ElementsAre(' ', ' ', 'x'));
}

TEST(TokenizerTest, BosComesFirstWhereTheVocabularySaysSo) {
  Vocabulary vocabulary = WithAdded({{"<s>", Kind::kSpecial}});
  vocabulary.bos = 256;
  EXPECT_THAT(Make(vocabulary)->Encode("a", {}), ElementsAre('a'));
  vocabulary.add_bos = true;
  const auto tokenizer = Make(vocabulary);
  EXPECT_THAT(tokenizer->Encode("a", {}), ElementsAre(256, 'a'));
  EXPECT_THAT(tokenizer->Encode("", {}), ElementsAre(256));
  EXPECT_THAT(tokenizer->Encode("a", kPlain), ElementsAre('a'));
}

TEST(TokenizerTest, EveryTextComesBackByteForByte) {
  const unsigned seed = 5;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  Vocabulary vocabulary = WithAdded({{"<s>", Kind::kSpecial}, {"ab", Kind::kNormal}});
  vocabulary.merges = {{'a', 'b'}};
  const auto tokenizer = Make(std::move(vocabulary));
  EXPECT_THAT(tokenizer->Encode("", kParse), IsEmpty());
  for (int round = 0; round < 500; ++round) {
    std::string text(random() % 100, 0);
    for (char& c : text) c = random() % 2 == 0 ? random() % 256 : "<s>ab "[random() % 6];
    for (const EncodeOptions& options : {kPlain, kParse}) {
      EXPECT_EQ(DecodeBytes(*tokenizer, tokenizer->Encode(text, options), true), text);
    }
  }
}

TEST(TokenizerTest, DecodingLeavesOutSpecialAndUnusedTokens) {
  const auto tokenizer =
      Make(WithAdded({{"<s>", Kind::kSpecial}, {"<u>", Kind::kUserDefined}, {"", Kind::kUnused}}));
  const std::vector<int32_t> ids = {'a', 256, 257, 258, 'b'};
  EXPECT_EQ(DecodeBytes(*tokenizer, ids, false), "a<u>b");
  EXPECT_EQ(DecodeBytes(*tokenizer, ids, true), "a<s><u>b");
  EXPECT_EQ(DecodeBytes(*tokenizer, {}, true), "");
  EXPECT_TRUE(tokenizer->IsSpecial(256));
  EXPECT_FALSE(tokenizer->IsSpecial(257));
  EXPECT_EQ(tokenizer->TokenBytes('a'), "a");
  EXPECT_EQ(tokenizer->vocabulary_size(), 259);
}

TEST(TokenizerTest, RefusesContradictions) {
  const auto error = [](Vocabulary vocabulary) {
    const absl::Status status = Tokenizer::Create(std::move(vocabulary)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(error({}), HasSubstr("no tokens"));
  EXPECT_THAT(error(WithAdded({{"", Kind::kSpecial}})), HasSubstr("token 256 has no bytes"));
  EXPECT_THAT(error(WithAdded({{std::string(1025, 'x'), Kind::kNormal}})), HasSubstr("1025 bytes"));
  Vocabulary vocabulary = Bytes();
  vocabulary.bos = 256;
  EXPECT_THAT(error(vocabulary), HasSubstr("bos is token 256 of 256"));
  vocabulary.tokens.push_back({"", Kind::kUnused});
  EXPECT_THAT(error(vocabulary), HasSubstr("bos is token 256, which stands for nothing"));
  vocabulary.tokens.pop_back();
  vocabulary.bos.reset();
  vocabulary.eos = {0, -1};
  EXPECT_THAT(error(vocabulary), HasSubstr("eos is token -1 of 256"));
  vocabulary.eos = {};
  vocabulary.add_bos = true;
  EXPECT_THAT(error(vocabulary), HasSubstr("no token is bos"));
  EXPECT_THAT(error(WithAdded({{"<s>", Kind::kSpecial}, {"<s>", Kind::kSpecial}})),
              HasSubstr("tokens 256 and 257 are both \"<s>\""));
}

}  // namespace
}  // namespace sieve
