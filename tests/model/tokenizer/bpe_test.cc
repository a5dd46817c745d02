#include "model/tokenizer/bpe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace sieve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Kind = Vocabulary::Kind;

Vocabulary Make(const std::vector<std::string>& tokens,
                const std::vector<std::pair<int32_t, int32_t>>& merges) {
  Vocabulary vocabulary;
  for (const std::string& token : tokens) vocabulary.tokens.push_back({token, Kind::kNormal});
  vocabulary.merges = merges;
  return vocabulary;
}

std::vector<int32_t> Encode(const Vocabulary& vocabulary, std::string_view word) {
  const auto bpe = Bpe::Create(vocabulary);
  EXPECT_TRUE(bpe.ok()) << bpe.status();
  std::vector<int32_t> ids;
  (*bpe)->EncodeWord(word, &ids);
  return ids;
}

TEST(BpeTest, TheLowestRankMergesFirst) {
  // a b c ab bc abc
  const std::vector<std::string> tokens = {"a", "b", "c", "ab", "bc", "abc"};
  EXPECT_THAT(Encode(Make(tokens, {{1, 2}, {0, 1}}), "abc"), ElementsAre(0, 4));
  EXPECT_THAT(Encode(Make(tokens, {{0, 1}, {1, 2}}), "abc"), ElementsAre(3, 2));
  EXPECT_THAT(Encode(Make(tokens, {{0, 1}, {3, 2}}), "abc"), ElementsAre(5));
}

TEST(BpeTest, OfEqualRanksTheLeftmostMergesFirst) {
  const Vocabulary vocabulary = Make({"a", "aa"}, {{0, 0}});
  EXPECT_THAT(Encode(vocabulary, "aaa"), ElementsAre(1, 0));
  EXPECT_EQ(Encode(vocabulary, std::string(1001, 'a')).size(), 501u);
  EXPECT_EQ(Encode(vocabulary, std::string(1001, 'a')).back(), 0);
}

TEST(BpeTest, AWordThatIsATokenIsTakenWholeOnlyIfMergesMakeItOrAreIgnored) {
  Vocabulary vocabulary = Make({"a", "b", "ab"}, {});
  EXPECT_THAT(Encode(vocabulary, "ab"), ElementsAre(0, 1));
  vocabulary.ignore_merges = true;
  EXPECT_THAT(Encode(vocabulary, "ab"), ElementsAre(2));
  EXPECT_THAT(Encode(vocabulary, "aab"), ElementsAre(0, 0, 1));
}

TEST(BpeTest, MergesByIdTakeTheLowestId) {
  Vocabulary vocabulary = Make({"a", "b", "c", "bc", "ab", "abc"}, {});
  vocabulary.merge_by_id = true;
  EXPECT_THAT(Encode(vocabulary, "abc"), ElementsAre(5));
  EXPECT_THAT(Encode(vocabulary, "abb"), ElementsAre(4, 1));
  EXPECT_THAT(Encode(vocabulary, "ababc"), ElementsAre(4, 5));
}

TEST(BpeTest, BytesWithoutATokenAreLeftOutBeforeMerging) {
  const Vocabulary vocabulary = Make({"a", "b", "ab"}, {{0, 1}});
  EXPECT_THAT(Encode(vocabulary, "a?b"), ElementsAre(2));
  EXPECT_THAT(Encode(vocabulary, "???"), IsEmpty());
  EXPECT_THAT(Encode(vocabulary, std::string(100, '?')), IsEmpty());
  EXPECT_THAT(Encode(vocabulary, ""), IsEmpty());
}

TEST(BpeTest, SpecialTokensAreNeverMade) {
  Vocabulary vocabulary = Make({"a", "b"}, {});
  vocabulary.tokens.push_back({"ab", Kind::kSpecial});
  vocabulary.ignore_merges = true;
  EXPECT_THAT(Encode(vocabulary, "ab"), ElementsAre(0, 1));
}

TEST(BpeTest, RefusesContradictions) {
  const auto error = [](const Vocabulary& vocabulary) {
    return std::string(Bpe::Create(vocabulary).status().message());
  };
  const std::vector<std::string> tokens = {"a", "b", "ab"};
  EXPECT_THAT(error(Make(tokens, {{0, 3}})), HasSubstr("merge 0 names token 3"));
  EXPECT_THAT(error(Make(tokens, {{0, 1}, {-1, 0}})), HasSubstr("merge 1 names token -1"));
  EXPECT_THAT(error(Make(tokens, {{1, 0}})), HasSubstr("merge 0 makes \"ba\""));
  EXPECT_THAT(error(Make(tokens, {{0, 1}, {0, 1}})), HasSubstr("listed twice"));
  EXPECT_THAT(error(Make({"a", "a"}, {})), HasSubstr("tokens 0 and 1 are both \"a\""));
  Vocabulary by_id = Make(tokens, {{0, 1}});
  by_id.merge_by_id = true;
  EXPECT_THAT(error(by_id), HasSubstr("go by id"));
  Vocabulary special = Make(tokens, {{0, 1}});
  special.tokens[2].kind = Kind::kSpecial;
  EXPECT_THAT(error(special), HasSubstr("which is no ordinary token"));
}

// The definition: merge the leftmost pair of the lowest rank until there is none.
std::vector<int32_t> EncodeByDefinition(const Vocabulary& vocabulary, std::string_view word) {
  std::map<std::string, int32_t> ids;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) ids[vocabulary.tokens[id].bytes] = id;
  std::map<std::pair<int32_t, int32_t>, size_t> ranks;
  for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    ranks[vocabulary.merges[rank]] = rank;
  }
  std::vector<int32_t> symbols;
  for (const char c : word) symbols.push_back(ids.at(std::string(1, c)));
  while (true) {
    size_t best = std::numeric_limits<size_t>::max();
    size_t place = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = ranks.find({symbols[i], symbols[i + 1]});
      if (found == ranks.end() || found->second >= best) continue;
      best = found->second;
      place = i;
    }
    if (best == std::numeric_limits<size_t>::max()) return symbols;
    symbols[place] = ids.at(vocabulary.tokens[symbols[place]].bytes +
                            vocabulary.tokens[symbols[place + 1]].bytes);
    symbols.erase(symbols.begin() + place + 1);
  }
}

TEST(BpeTest, RandomVocabulariesAgreeWithTheDefinition) {
  const unsigned seed = 3;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 100; ++round) {
    Vocabulary vocabulary = Make({"a", "b", "c"}, {});
    std::map<std::string, int32_t> ids = {{"a", 0}, {"b", 1}, {"c", 2}};
    std::map<std::pair<int32_t, int32_t>, bool> seen;
    for (int i = 0; i < 40; ++i) {
      const int32_t left = random() % vocabulary.tokens.size();
      const int32_t right = random() % vocabulary.tokens.size();
      if (!seen.try_emplace({left, right}).second) continue;
      const std::string bytes = vocabulary.tokens[left].bytes + vocabulary.tokens[right].bytes;
      if (bytes.size() > 20) continue;
      if (ids.try_emplace(bytes, vocabulary.tokens.size()).second) {
        vocabulary.tokens.push_back({bytes, Kind::kNormal});
      }
      vocabulary.merges.emplace_back(left, right);
    }
    std::shuffle(vocabulary.merges.begin(), vocabulary.merges.end(), random);
    // Lengths on both sides of the change of algorithm at 64 bytes.
    for (const int length : {1, 2, 3, 10, 63, 64, 65, 66, 300}) {
      std::string word(length, 0);
      for (char& c : word) c = "abc"[random() % 3];
      EXPECT_EQ(Encode(vocabulary, word), EncodeByDefinition(vocabulary, word)) << word;
    }
  }
}

}  // namespace
}  // namespace sieve
