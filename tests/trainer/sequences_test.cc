#include "trainer/sequences.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace sieve {
namespace {

TEST(Sequences, NeverCrossDocuments) {
  EXPECT_EQ(CutSequences({3, 13, 17, 25}, 4), std::vector<int64_t>({3, 7, 9, 13, 17, 21}));
  EXPECT_EQ(CutSequences({3, 6}, 4), std::vector<int64_t>());
  EXPECT_EQ(CutSequences({}, 4), std::vector<int64_t>());
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
