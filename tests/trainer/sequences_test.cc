#include "trainer/sequences.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace sieve {
namespace {

// "begin+length" of each, packs in brackets.
std::string Text(const std::vector<Pack>& packs) {
  std::string text;
  for (const Pack& pack : packs) {
    text += "[";
    for (const Sequence& s : pack) {
      text += (text.back() == '[' ? "" : " ") + std::to_string(s.begin) + "+" +
              std::to_string(s.length);
    }
    text += "]";
  }
  return text;
}

TEST(Packs, LongDocumentsAreCutAndNeverCrossed) {
  EXPECT_EQ(Text(PackDocuments({3, 13, 17, 25}, 4, 4)), "[3+4][7+4][9+4][13+4][17+4][21+4]");
  EXPECT_EQ(Text(PackDocuments({3, 6}, 4, 4)), "");
  EXPECT_EQ(Text(PackDocuments({}, 4, 2)), "");
}

TEST(Packs, ShortDocumentsShareOneBySize) {
  // Sizes 3, 1, 10, 4, 5, 3, 0, 2, 9.
  EXPECT_EQ(Text(PackDocuments({3, 4, 14, 18, 23, 26, 26, 28, 37}, 10, 2)),
            "[4+10][28+9][18+5 14+4][0+3 23+3 26+2]");
  EXPECT_EQ(Text(PackDocuments({3, 4, 14, 18, 23, 26, 26, 28, 37}, 10, 5)), "[4+10][28+9][18+5]");
}

TEST(Packs, NoDocumentIsLostAndNoPackIsTooLarge) {
  std::mt19937_64 random(11);
  for (int trial = 0; trial < 50; ++trial) {
    const int64_t length = 1 + static_cast<int64_t>(random() % 40);
    std::vector<int64_t> ends = {0};
    for (int i = 0; i < 60; ++i) ends.push_back(ends.back() + random() % 60);
    std::vector<bool> covered(ends.back());
    for (const Pack& pack : PackDocuments(ends, length, 1)) {
      EXPECT_LE(static_cast<int64_t>(pack.size()) * pack[0].length, length);
      for (const Sequence& s : pack) {
        EXPECT_LE(s.length, pack[0].length);
        for (int64_t i = s.begin; i < s.begin + s.length; ++i) covered[i] = true;
        const auto document = std::upper_bound(ends.begin(), ends.end(), s.begin);
        EXPECT_LE(s.begin + s.length, *document) << "crosses a document, seed 11, trial " << trial;
      }
    }
    EXPECT_EQ(std::count(covered.begin(), covered.end(), false), 0);
  }
}

TEST(Packs, OnlyWholeSequencesShareABatch) {
  const std::vector<Pack> packs = {{{0, 4}}, {{9, 3}}, {{4, 4}}, {{20, 2}, {30, 1}}};
  EXPECT_EQ(Text(BatchesOf(packs, 4)), "[9+3][20+2 30+1][0+4 4+4]");
  EXPECT_EQ(TokensOf(packs[3]), 3);
  EXPECT_EQ(Text(BatchesOf({}, 4)), "");
}

TEST(Sequences, EachEpochHasAllInAnOrderOfItsOwn) {
  SequenceOrder order(50, 7), same(50, 7), other(50, 8);
  std::vector<int64_t> epochs[2], others;
  for (int64_t i = 0; i < 100; ++i) epochs[i / 50].push_back(order.At(i));
  for (int64_t i = 0; i < 50; ++i) others.push_back(other.At(i));
  for (const auto& epoch : epochs) {
    EXPECT_EQ(std::set<int64_t>(epoch.begin(), epoch.end()).size(), 50);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[0], others);
  // Wherever one begins.
  EXPECT_EQ(same.At(70), epochs[1][20]);
  EXPECT_EQ(same.At(3), epochs[0][3]);
}

}  // namespace
}  // namespace sieve
