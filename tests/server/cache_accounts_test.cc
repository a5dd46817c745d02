#include "server/cache_accounts.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/server/scheduler_driver.h"

namespace sieve {
namespace {

std::vector<int32_t> Prompt(int64_t length, int32_t first = 0) {
  std::vector<int32_t> tokens(length);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

TEST(CacheAccountsTest, ASharedPageCountsInEqualParts) {
  SchedulerDriver driver({.max_step_tokens = 500, .max_running_sequences = 8}, 32);
  const int64_t a = driver.Add(Prompt(130), 10);
  driver.Step();
  const int64_t b = driver.Add(Prompt(130), 10, 0, 2);  // two samples
  driver.Step();
  CacheAccounts accounts;
  accounts.Update(driver.scheduler());
  // Two pages by three sequences, one page of a's own, one that b's samples share.
  EXPECT_NEAR(accounts.Get(a).pages, 2.0 / 3 + 1, 1e-9);
  EXPECT_NEAR(accounts.Get(b).pages, 4.0 / 3 + 1, 1e-9);
  EXPECT_NEAR(accounts.total_pages(), 4, 1e-9);
  driver.Cancel(b);
  accounts.Update(driver.scheduler());
  EXPECT_NEAR(accounts.Get(a).pages, 3, 1e-9);
  EXPECT_EQ(accounts.Get(b).pages, 0);
  EXPECT_NEAR(accounts.Get(b).peak_pages, 4.0 / 3 + 1, 1e-9);
}

TEST(CacheAccountsTest, PageSecondsAreSharesTimesTime) {
  SchedulerDriver driver({.max_step_tokens = 500, .max_running_sequences = 8}, 32);
  CacheAccounts accounts;
  accounts.AdvanceTo(driver.now());
  const int64_t a = driver.Add(Prompt(128), 100);
  driver.Step();
  accounts.Update(driver.scheduler());
  accounts.AdvanceTo(driver.now() + absl::Seconds(3));
  EXPECT_NEAR(accounts.Get(a).page_seconds, 6, 1e-9);
  driver.Step();  // a third page
  accounts.Update(driver.scheduler());
  accounts.AdvanceTo(driver.now() + absl::Milliseconds(3500));
  EXPECT_NEAR(accounts.Get(a).page_seconds, 7.5, 1e-9);
  accounts.AdvanceTo(driver.now());  // a clock set back
  EXPECT_NEAR(accounts.Get(a).page_seconds, 7.5, 1e-9);
  accounts.Erase(a);
  EXPECT_EQ(accounts.Get(a).page_seconds, 0);
}

// Shared prefixes, samples, preemption, pauses, cancellations: the shares of those that live are
// the pool's active pages, and page-seconds are those of the pool.
TEST(CacheAccountsTest, SharesAddUpToTheActivePages) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const auto below = [&](int n) { return static_cast<int>(random() % n); };
  SchedulerDriver driver({.max_step_tokens = 70, .max_running_sequences = 6}, 12);
  CacheAccounts accounts;
  accounts.AdvanceTo(driver.now());
  std::map<int64_t, bool> groups;
  double pool_seconds = 0;
  int preemptions = 0;
  for (int round = 0; round < 2000; ++round) {
    if (driver.num_open() < 20 && below(3) == 0) {
      SequenceGroup group;
      group.prompt = Prompt(1 + below(400), below(3));
      group.max_tokens = 1 + below(100);
      group.num_samples = 1 + below(4);
      group.tenant = absl::StrCat(below(3));
      groups[driver.Add(std::move(group))] = true;
    }
    if (driver.num_open() > 0 && below(30) == 0) {
      driver.Cancel(driver.open_groups()[below(driver.num_open())]);
    }
    preemptions += driver.Step().preempted.size();
    accounts.Update(driver.scheduler());
    const double active = driver.scheduler().pool().active_pages();
    ASSERT_NEAR(accounts.total_pages(), active, 1e-6) << "round " << round;
    double sum = 0;
    for (const auto& [group, unused] : groups) sum += accounts.Get(group).pages;
    ASSERT_NEAR(sum, active, 1e-6) << "round " << round;
    const absl::Duration time = absl::Milliseconds(below(100));
    driver.AdvanceClock(time);
    accounts.AdvanceTo(driver.now());
    pool_seconds += active * absl::ToDoubleSeconds(time);
  }
  double seconds = 0;
  for (const auto& [group, unused] : groups) seconds += accounts.Get(group).page_seconds;
  EXPECT_NEAR(seconds, pool_seconds, 1e-6 * pool_seconds);
  EXPECT_GT(preemptions, 0);
}

}  // namespace
}  // namespace sieve
