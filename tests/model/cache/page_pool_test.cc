#include "model/cache/page_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

namespace sieve {
namespace {

std::vector<int32_t> Tokens(int64_t count, int32_t first = 0) {
  std::vector<int32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

// A sequence of whole pages, computed (allocated) and published.
std::vector<int32_t> Fill(PagePool* pool, const std::vector<int32_t>& tokens,
                          const PrefixHash& root = {}) {
  std::vector<int32_t> pages;
  EXPECT_TRUE(pool->Allocate(tokens.size() / kPageTokens, &pages));
  for (size_t i = 0; i < pages.size(); ++i) {
    const int32_t parent = i == 0 ? PagePool::kNoPage : pages[i - 1];
    pages[i] = pool->Publish(pages[i], parent,
                             absl::MakeSpan(tokens).subspan(i * kPageTokens, kPageTokens), root);
  }
  return pages;
}

void ExpectPages(const PagePool& pool, int64_t free, int64_t cached, int64_t active) {
  EXPECT_EQ(pool.CheckConsistency(), "");
  EXPECT_EQ(pool.free_pages(), free);
  EXPECT_EQ(pool.cached_pages(), cached);
  EXPECT_EQ(pool.active_pages(), active);
}

TEST(PagePoolTest, AllocatesAllOrNothing) {
  PagePool pool(4);
  std::vector<int32_t> pages;
  EXPECT_FALSE(pool.Allocate(5, &pages));
  EXPECT_TRUE(pages.empty());
  EXPECT_TRUE(pool.Allocate(0, &pages));
  ASSERT_TRUE(pool.Allocate(3, &pages));
  EXPECT_EQ(pages, (std::vector<int32_t>{0, 1, 2}));
  EXPECT_FALSE(pool.Allocate(2, &pages));
  ExpectPages(pool, 1, 0, 3);
  pool.Release(pages);
  ExpectPages(pool, 4, 0, 0);
}

TEST(PagePoolTest, EmptyPool) {
  PagePool pool(0);
  std::vector<int32_t> pages;
  EXPECT_FALSE(pool.Allocate(1, &pages));
  EXPECT_TRUE(pool.TakePrefix(Tokens(200)).empty());
  ExpectPages(pool, 0, 0, 0);
}

TEST(PagePoolTest, SharedPagesStayUntilTheLastHolderGoes) {
  PagePool pool(2);
  std::vector<int32_t> pages;
  ASSERT_TRUE(pool.Allocate(1, &pages));
  EXPECT_FALSE(pool.IsShared(pages[0]));
  pool.AddRef(pages[0]);
  EXPECT_TRUE(pool.IsShared(pages[0]));
  pool.Release(pages);
  ExpectPages(pool, 1, 0, 1);
  pool.Release(pages);
  ExpectPages(pool, 2, 0, 0);
}

TEST(PagePoolTest, FindsTheLongestPublishedPrefixInWholePages) {
  PagePool pool(8);
  const std::vector<int32_t> tokens = Tokens(3 * kPageTokens);
  const std::vector<int32_t> pages = Fill(&pool, tokens);
  pool.Release(pages);
  ExpectPages(pool, 5, 3, 0);
  for (const int64_t length : {0, 1, 63, 64, 65, 127, 128, 191, 192}) {
    const std::vector<int32_t> found = pool.TakePrefix(absl::MakeSpan(tokens).first(length));
    EXPECT_EQ(found, std::vector<int32_t>(pages.begin(), pages.begin() + length / kPageTokens));
    ExpectPages(pool, 5, 3 - found.size(), found.size());
    pool.Release(found);
  }
  std::vector<int32_t> other = tokens;
  other[kPageTokens] = -7;
  const std::vector<int32_t> found = pool.TakePrefix(other);
  EXPECT_EQ(found.size(), 1);
  pool.Release(found);
}

TEST(PagePoolTest, APageIsFoundOnlyBehindItsParent) {
  PagePool pool(8);
  const std::vector<int32_t> tokens = Tokens(2 * kPageTokens);
  pool.Release(Fill(&pool, tokens));
  // The second page's tokens at the beginning of a prompt are another prefix.
  EXPECT_TRUE(pool.TakePrefix(Tokens(kPageTokens, kPageTokens)).empty());
}

TEST(PagePoolTest, EvictsTheLeastRecentlyUsedFirstAndChainsFromTheirEnd) {
  const std::vector<int32_t> used_again = Tokens(2 * kPageTokens);
  const std::vector<int32_t> forgotten = Tokens(2 * kPageTokens, 1000);
  const int64_t left[][2] = {{2, 2}, {2, 1}, {2, 0}, {1, 0}, {0, 0}};
  for (int evictions = 0; evictions <= 4; ++evictions) {
    PagePool pool(4);
    pool.Release(Fill(&pool, used_again));
    pool.Release(Fill(&pool, forgotten));
    pool.Release(pool.TakePrefix(used_again));
    std::vector<int32_t> taken;
    ASSERT_TRUE(pool.Allocate(evictions, &taken));
    ExpectPages(pool, 0, 4 - evictions, evictions);
    EXPECT_EQ(pool.TakePrefix(used_again).size(), left[evictions][0]) << evictions;
    EXPECT_EQ(pool.TakePrefix(forgotten).size(), left[evictions][1]) << evictions;
  }
}

TEST(PagePoolTest, ATwinGivesItsPageBack) {
  PagePool pool(4);
  const std::vector<int32_t> tokens = Tokens(2 * kPageTokens);
  const std::vector<int32_t> first = Fill(&pool, tokens);
  const std::vector<int32_t> second = Fill(&pool, tokens);
  EXPECT_EQ(first, second);
  ExpectPages(pool, 2, 0, 2);
  pool.Release(first);
  ExpectPages(pool, 2, 0, 2);
  pool.Release(second);
  ExpectPages(pool, 2, 2, 0);
}

PrefixHash Constant(const PrefixHash&, absl::Span<const int32_t>) { return {1, 2}; }

TEST(PagePoolTest, EqualHashesNeverShareAPage) {
  PagePool pool(4, &Constant);
  const std::vector<int32_t> tokens = Tokens(kPageTokens);
  const std::vector<int32_t> other = Tokens(2 * kPageTokens, 500);
  const std::vector<int32_t> pages = Fill(&pool, tokens);
  EXPECT_TRUE(pool.TakePrefix(other).empty());
  const std::vector<int32_t> other_pages = Fill(&pool, other);
  EXPECT_NE(other_pages[0], pages[0]);
  EXPECT_TRUE(pool.TakePrefix(other).empty());
  // The same tokens twice: the second page's parent differs, so it is no twin of the first.
  std::vector<int32_t> twice = tokens;
  twice.insert(twice.end(), tokens.begin(), tokens.end());
  const std::vector<int32_t> found = pool.TakePrefix(twice);
  EXPECT_EQ(found, pages);
  pool.Release(found);
  pool.Release(other_pages);
  pool.Release(pages);
  ExpectPages(pool, 3, 1, 0);
}

constexpr PrefixHash kAdapter = {7, 8};

TEST(PagePoolTest, TheSameTokensUnderTwoRootsShareNothing) {
  // Also where all hashes are equal.
  for (const PagePool::Hasher hasher : {&ChainHash, &Constant}) {
    PagePool pool(8, hasher);
    const std::vector<int32_t> tokens = Tokens(hasher == &Constant ? kPageTokens : 2 * kPageTokens);
    const int64_t length = tokens.size() / kPageTokens;
    const std::vector<int32_t> base = Fill(&pool, tokens);
    EXPECT_TRUE(pool.TakePrefix(tokens, kAdapter).empty());
    EXPECT_EQ(pool.CountPrefix(tokens, kAdapter), 0);
    const std::vector<int32_t> adapted = Fill(&pool, tokens, kAdapter);
    for (const int32_t page : adapted) {
      EXPECT_EQ(std::count(base.begin(), base.end(), page), 0);
    }
    ExpectPages(pool, 8 - 2 * length, 0, 2 * length);
    EXPECT_EQ(pool.CountPrefix(tokens), length);
    pool.Release(base);
    pool.Release(adapted);
  }
}

TEST(PagePoolTest, TheSameTokensUnderOneRootAreShared) {
  PagePool pool(8);
  const std::vector<int32_t> tokens = Tokens(2 * kPageTokens);
  const std::vector<int32_t> first = Fill(&pool, tokens, kAdapter);
  EXPECT_EQ(Fill(&pool, tokens, kAdapter), first);
  EXPECT_EQ(pool.CountPrefix(tokens, kAdapter), 2);
  EXPECT_EQ(pool.TakePrefix(tokens, kAdapter), first);
  EXPECT_EQ(pool.CountPrefix(tokens), 0);
  ExpectPages(pool, 6, 0, 2);
}

// Sequences over few distinct pages come and go; whatever they do, the books balance and every page
// can be had again.
TEST(PagePoolTest, NothingLeaksUnderRandomUse) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const auto below = [&](int n) { return static_cast<int>(random() % n); };
  struct Sequence {
    std::vector<int32_t> tokens, pages;
  };
  constexpr int kPages = 24;
  PagePool pool(kPages);
  std::vector<Sequence> live;
  for (int step = 0; step < 4000; ++step) {
    switch (below(4)) {
      case 0: {  // a new sequence takes what is there
        Sequence sequence;
        for (int page = below(6); page >= 0; --page) {
          sequence.tokens.insert(sequence.tokens.end(), kPageTokens, below(3));
        }
        sequence.pages = pool.TakePrefix(sequence.tokens);
        live.push_back(sequence);
        break;
      }
      case 1: {  // computes one more page
        if (live.empty()) break;
        Sequence& sequence = live[below(live.size())];
        const size_t i = sequence.pages.size();
        if (i * kPageTokens == sequence.tokens.size()) break;
        const bool available = pool.available_pages() > 0;
        ASSERT_EQ(pool.Allocate(1, &sequence.pages), available);
        if (!available) break;
        sequence.pages[i] =
            pool.Publish(sequence.pages[i], i == 0 ? PagePool::kNoPage : sequence.pages[i - 1],
                         absl::MakeSpan(sequence.tokens).subspan(i * kPageTokens, kPageTokens));
        break;
      }
      case 2: {  // forks
        if (live.empty()) break;
        const Sequence copy = live[below(live.size())];
        for (const int32_t page : copy.pages) pool.AddRef(page);
        live.push_back(copy);
        break;
      }
      case 3: {  // ends
        if (live.empty()) break;
        std::swap(live[below(live.size())], live.back());
        pool.Release(live.back().pages);
        live.pop_back();
        break;
      }
    }
    ASSERT_EQ(pool.CheckConsistency(), "") << "step " << step;
  }
  for (const Sequence& sequence : live) pool.Release(sequence.pages);
  EXPECT_EQ(pool.active_pages(), 0);
  std::vector<int32_t> all;
  EXPECT_TRUE(pool.Allocate(kPages, &all));
  ExpectPages(pool, 0, 0, kPages);
}

TEST(PagePoolTest, CountingAPrefixTakesNothing) {
  PagePool pool(8);
  const std::vector<int32_t> tokens = Tokens(3 * kPageTokens);
  const std::vector<int32_t> pages = Fill(&pool, tokens);
  EXPECT_EQ(pool.CountPrefix(tokens), 3);
  EXPECT_EQ(pool.CountPrefix(absl::MakeSpan(tokens).first(2 * kPageTokens - 1)), 1);
  EXPECT_EQ(pool.CountPrefix(Tokens(3 * kPageTokens, 1)), 0);
  EXPECT_EQ(pool.CountPrefix({}), 0);
  ExpectPages(pool, 5, 0, 3);
  pool.Release(pages);
  EXPECT_EQ(pool.CountPrefix(tokens), 3);
  ExpectPages(pool, 5, 3, 0);
}

// For ThreadSanitizer: a reader while prompts come and go.
TEST(PagePoolTest, CountingGoesOnWhileOthersChangeThePool) {
  PagePool pool(6);
  const std::vector<int32_t> tokens = Tokens(4 * kPageTokens);
  std::atomic<bool> done = false;
  std::thread reader([&] {
    while (!done) EXPECT_LE(pool.CountPrefix(tokens), 4);
  });
  for (int i = 0; i < 2000; ++i) {
    pool.Release(Fill(&pool, tokens));
    pool.Release(Fill(&pool, Tokens(3 * kPageTokens, i)));  // evicts
    if (i % 100 == 0) pool.Recount({});
  }
  done = true;
  reader.join();
  EXPECT_EQ(pool.CheckConsistency(), "");
}

TEST(PagePoolTest, RecountingBelievesTheTablesOnly) {
  PagePool pool(8);
  const std::vector<int32_t> held = Fill(&pool, Tokens(2 * kPageTokens));
  pool.AddRef(held[0]);
  const std::vector<int32_t> lost = Fill(&pool, Tokens(kPageTokens, 1000));
  pool.Release(Fill(&pool, Tokens(kPageTokens, 2000)));  // cached
  const std::vector<int32_t> other = {held[0], 99, -1};
  const std::vector<absl::Span<const int32_t>> tables = {held, other};
  pool.Recount(tables);
  ExpectPages(pool, 6, 0, 2);
  EXPECT_EQ(pool.references(held[0]), 2);
  EXPECT_EQ(pool.references(held[1]), 1);
  EXPECT_EQ(pool.references(lost[0]), 0);
  EXPECT_EQ(pool.CountPrefix(Tokens(2 * kPageTokens)), 0);
  // What goes on after a page that is not indexed any more stays out of the index.
  std::vector<int32_t> more;
  ASSERT_TRUE(pool.Allocate(1, &more));
  EXPECT_EQ(pool.Publish(more[0], held[1], Tokens(kPageTokens, 128)), more[0]);
  pool.Release(more);
  ExpectPages(pool, 6, 0, 2);
}

}  // namespace
}  // namespace sieve
