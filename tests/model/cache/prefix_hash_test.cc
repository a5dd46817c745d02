#include "model/cache/prefix_hash.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include "model/cache/geometry.h"

namespace sieve {
namespace {

std::vector<int32_t> Page(int32_t first) {
  std::vector<int32_t> tokens(kPageTokens);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

TEST(PrefixHashTest, DependsOnEveryTokenItsPlaceAndTheParent) {
  std::set<std::pair<uint64_t, uint64_t>> seen;
  const auto is_new = [&](const PrefixHash& hash) {
    return seen.insert({hash.low, hash.high}).second;
  };
  const PrefixHash base = ChainHash(PrefixHash(), Page(0));
  EXPECT_TRUE(is_new(base));
  for (int i = 0; i < kPageTokens; ++i) {
    std::vector<int32_t> changed = Page(0);
    changed[i] += 1000;
    EXPECT_TRUE(is_new(ChainHash(PrefixHash(), changed))) << "token " << i;
  }
  std::vector<int32_t> swapped = Page(0);
  std::swap(swapped[10], swapped[11]);
  EXPECT_TRUE(is_new(ChainHash(PrefixHash(), swapped)));
  EXPECT_TRUE(is_new(ChainHash(base, Page(0))));
  EXPECT_TRUE(is_new(ChainHash(PrefixHash(), std::vector<int32_t>(kPageTokens, 0))));
  EXPECT_EQ(ChainHash(PrefixHash(), Page(0)), base);
}

TEST(PrefixHashTest, TheHalvesAreIndependent) {
  const PrefixHash a = ChainHash(PrefixHash(), Page(0));
  const PrefixHash b = ChainHash(PrefixHash(), Page(1));
  EXPECT_NE(a.low, a.high);
  EXPECT_NE(a.low ^ b.low, a.high ^ b.high);
}

}  // namespace
}  // namespace sieve
