#include "client/bench/prompt.h"

#include <vector>

#include "gtest/gtest.h"

namespace sieve {
namespace {

std::vector<int32_t> Prompt(const Arrival& arrival, uint64_t seed = 1, int run = 0,
                            int32_t vocabulary_size = 1000) {
  v1::TokenIds prompt;
  PromptMaker(seed, run, vocabulary_size).Fill(arrival, &prompt);
  return {prompt.ids().begin(), prompt.ids().end()};
}

std::vector<int32_t> Slice(const std::vector<int32_t>& ids, int begin, int end) {
  return {ids.begin() + begin, ids.begin() + end};
}

TEST(PromptTest, IdsAreBelowTheVocabulary) {
  Arrival arrival;
  arrival.prompt_tokens = 500;
  for (const int32_t vocabulary_size : {1, 2, 7, 128256}) {
    const std::vector<int32_t> ids = Prompt(arrival, 1, 0, vocabulary_size);
    EXPECT_EQ(ids.size(), 500);
    for (const int32_t id : ids) {
      EXPECT_GE(id, 0);
      EXPECT_LT(id, vocabulary_size);
    }
  }
}

TEST(PromptTest, DifferFromTheFirstTokensOnUnlessAllIsTheSame) {
  Arrival arrival;
  arrival.prompt_tokens = 64;
  Arrival other = arrival;
  other.index = 1;
  EXPECT_EQ(Prompt(arrival), Prompt(arrival));
  EXPECT_NE(Slice(Prompt(arrival), 0, 8), Slice(Prompt(other), 0, 8));
  EXPECT_NE(Slice(Prompt(arrival), 0, 8), Slice(Prompt(arrival, 2), 0, 8));
  EXPECT_NE(Slice(Prompt(arrival), 0, 8), Slice(Prompt(arrival, 1, /*run=*/1), 0, 8));
}

TEST(PromptTest, EqualBlocksAreEqualTokensWhereverTheyStand) {
  Arrival a;
  a.prompt_tokens = 40;
  a.block_tokens = 16;
  a.blocks = {7, 8, 9};  // the last is 8 tokens long here
  Arrival b = a;
  b.index = 5;
  b.prompt_tokens = 50;  // two more than its blocks have
  b.blocks = {8, 7, 9};
  const std::vector<int32_t> first = Prompt(a), second = Prompt(b);
  ASSERT_EQ(first.size(), 40);
  ASSERT_EQ(second.size(), 50);
  EXPECT_EQ(Slice(first, 0, 16), Slice(second, 16, 32));
  EXPECT_EQ(Slice(first, 16, 32), Slice(second, 0, 16));
  EXPECT_EQ(Slice(first, 32, 40), Slice(second, 32, 40));
  EXPECT_NE(Slice(first, 0, 16), Slice(first, 16, 32));
  EXPECT_NE(Slice(first, 0, 16), Slice(Prompt(a, 1, /*run=*/1), 0, 16));
  EXPECT_NE(Slice(first, 0, 16), Slice(Prompt(a, /*seed=*/2), 0, 16));
}

}  // namespace
}  // namespace sieve
