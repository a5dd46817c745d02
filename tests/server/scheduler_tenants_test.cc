// Tenants and priorities: who is served how much, and who has to wait for whom.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/generation.h"
#include "server/scheduler.h"
#include "tests/server/scheduler_driver.h"

namespace sieve {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Not two with a page in common.
std::vector<int32_t> NewPrompt(int64_t length) {
  static int32_t next = 0;
  std::vector<int32_t> tokens(length);
  for (int32_t& token : tokens) token = next++;
  return tokens;
}

SequenceGroup Group(const std::string& tenant, int64_t prompt, int32_t max_tokens,
                    double weight = 1, int32_t priority = 0) {
  SequenceGroup group;
  group.prompt = NewPrompt(prompt);
  group.max_tokens = max_tokens;
  group.tenant = tenant;
  group.weight = weight;
  group.priority = priority;
  return group;
}

SchedulerConfig Config(int64_t max_step_tokens, int64_t max_running) {
  SchedulerConfig config;
  config.max_step_tokens = max_step_tokens;
  config.max_running_sequences = max_running;
  return config;
}

// Keeps queues filled and counts the tokens that each tenant's groups get.
class Backlog {
 public:
  explicit Backlog(SchedulerDriver* driver) : driver_(*driver) {}

  void Keep(const std::string& tenant, size_t groups, const std::function<SequenceGroup()>& make) {
    std::set<int64_t>& open = open_[tenant];
    std::erase_if(open, [&](int64_t group) { return !driver_.is_open(group); });
    while (open.size() < groups) {
      const int64_t group = driver_.Add(make());
      open.insert(group);
      tenant_of_[group] = tenant;
    }
  }

  void Step() {
    for (const Chunk& chunk : driver_.Step().chunks) {
      tokens_[tenant_of_.at(chunk.sequence.group)] += chunk.count;
    }
  }

  int64_t tokens(const std::string& tenant) const {
    const auto tokens = tokens_.find(tenant);
    return tokens == tokens_.end() ? 0 : tokens->second;
  }

 private:
  SchedulerDriver& driver_;
  std::map<std::string, std::set<int64_t>> open_;
  std::map<int64_t, std::string> tenant_of_;
  std::map<std::string, int64_t> tokens_;
};

// Weights 3 and 1, however prompts and outputs are mixed, within 5 % of tokens.
TEST(SchedulerTenantsTest, BackloggedTenantsGetTokensByTheirWeights) {
  struct Mix {
    int64_t prompt_a, prompt_b;
    int32_t output_a, output_b;
  };
  for (const Mix& mix : {Mix{40, 40, 20, 20}, Mix{500, 10, 5, 60}, Mix{8, 300, 100, 1}}) {
    SchedulerDriver driver(Config(64, 8), 100);
    Backlog backlog(&driver);
    for (int step = 0; step < 6000; ++step) {
      backlog.Keep("a", 20, [&] { return Group("a", mix.prompt_a, mix.output_a, 3); });
      backlog.Keep("b", 20, [&] { return Group("b", mix.prompt_b, mix.output_b, 1); });
      backlog.Step();
    }
    const double ratio = static_cast<double>(backlog.tokens("a")) / backlog.tokens("b");
    EXPECT_NEAR(ratio, 3, 0.15) << mix.prompt_a << " " << mix.prompt_b;
  }
}

TEST(SchedulerTenantsTest, ManyRequestsOfOneTenantDoNotDelayANewcomers) {
  SchedulerDriver driver(Config(64, 4), 100);
  for (int i = 0; i < 1000; ++i) driver.Add(Group("crowd", 50, 10));
  for (int i = 0; i < 50; ++i) driver.Step();
  const int64_t newcomer = driver.Add(Group("newcomer", 50, 10));
  int steps = 0;
  for (; driver.is_open(newcomer) && steps < 1000; ++steps) driver.Step();
  // A slot gets free within the time of one request of the crowd's; then its own.
  EXPECT_LE(steps, 30);
}

TEST(SchedulerTenantsTest, ALongPromptSharesStepsWithAnotherTenantsShortOnes) {
  SchedulerDriver driver(Config(64, 8), 200);
  const int64_t big = driver.Add(Group("big", 6400, 1));
  driver.Step();
  const int64_t small = driver.Add(Group("small", 100, 1));
  int steps = 0;
  for (; driver.is_open(small); ++steps) driver.Step();
  EXPECT_LE(steps, 4);
  EXPECT_TRUE(driver.is_open(big));
  EXPECT_TRUE(driver.RunUntilOver(big));
}

// New names all the time, each with a fresh start.
TEST(SchedulerTenantsTest, AStreamOfNewTenantsStarvesNobody) {
  SchedulerDriver driver(Config(64, 2), 100);
  int64_t second = 0;
  for (int i = 0; i < 2; ++i) second = driver.Add(Group("old", 200, 50));
  int steps = 0;
  for (; driver.is_open(second) && steps < 2000; ++steps) {
    if (driver.num_open() < 10) driver.Add(Group(absl::StrCat("new", steps), 30, 20));
    driver.Step();
  }
  EXPECT_LT(steps, 1000);
  EXPECT_LE(driver.scheduler().remembered_tenants(), driver.num_open() + FairShares::kMaxIdle);
}

TEST(SchedulerTenantsTest, LowPriorityFinishesUnderAStreamOfHighPriority) {
  SchedulerDriver driver(Config(64, 2), 100);
  const int64_t low = driver.Add(Group("a", 100, 50, 1, -1));
  int high = 0;
  int steps = 0;
  for (; driver.is_open(low) && steps < 5000; ++steps) {
    // More than there is room for.
    while (driver.num_open() < 10) driver.Add(Group("a", 30, 10, 1, 1)), ++high;
    driver.AdvanceClock(absl::Milliseconds(100));
    driver.Step();
  }
  // Twenty seconds of waiting outweigh two steps of priority.
  EXPECT_GE(steps, 150);
  EXPECT_LE(steps, 400);
  EXPECT_GE(high, 20);
}

TEST(SchedulerTenantsTest, APriorityIsSoMuchWaitingAndNoMore) {
  SchedulerDriver driver(Config(64, 1), 100);
  const int64_t running = driver.Add(Group("a", 10, 5, 1, 5));
  driver.Step();
  const int64_t early = driver.Add(Group("a", 10, 5));
  driver.AdvanceClock(kPriorityStep + absl::Milliseconds(1));
  const int64_t late = driver.Add(Group("a", 10, 5, 1, 1));
  const int64_t later = driver.Add(Group("a", 10, 5, 1, 2));
  ASSERT_TRUE(driver.RunUntilOver(running));
  std::vector<int64_t> order;
  while (driver.num_open() > 0) {
    for (const StartedGroup& started : driver.Step().started) order.push_back(started.group);
  }
  EXPECT_THAT(order, ElementsAre(later, early, late));
}

TEST(SchedulerTenantsTest, APriorityTakesNoRoomFromAnotherTenant) {
  SchedulerDriver driver(Config(500, 2), 100);
  const int64_t mine = driver.Add(Group("a", 10, 50, 1, -1));
  const int64_t theirs = driver.Add(Group("b", 10, 50, 1, -1));
  driver.Step();
  const int64_t high = driver.Add(Group("a", 10, 5, 1, 5));
  const StepPlan plan = driver.Step();
  EXPECT_THAT(plan.preempted, ElementsAre(SequenceId{mine, 0}));
  EXPECT_TRUE(driver.RunUntilOver(high));
  EXPECT_EQ(driver.scheduler().preemptions({theirs, 0}), 0);
  const int64_t third = driver.Add(Group("c", 10, 5, 1, 100));
  EXPECT_THAT(driver.Step().preempted, IsEmpty());
  EXPECT_TRUE(driver.is_open(third));
}

// One that has waited for longer than the priorities weigh is not preempted by what comes later.
TEST(SchedulerTenantsTest, WhoRanksHigherIsNotPreempted) {
  SchedulerDriver driver(Config(500, 1), 100);
  const int64_t low = driver.Add(Group("a", 10, 50, 1, 0));
  driver.Step();
  driver.AdvanceClock(2 * kPriorityStep);
  driver.Add(Group("a", 10, 5, 1, 1));
  EXPECT_THAT(driver.Step().preempted, IsEmpty());
  EXPECT_TRUE(driver.RunUntilOver(low));
}

TEST(SchedulerTenantsTest, NobodyIsPreemptedWhereItWouldNotHelp) {
  SchedulerDriver driver(Config(500, 8), 10);
  const int64_t other = driver.Add(Group("b", 300, 50));
  const int64_t low = driver.Add(Group("a", 60, 50, 1, -1));
  driver.Step();
  const int64_t high = driver.Add(Group("a", 500, 5, 1, 1));
  EXPECT_THAT(driver.Step().preempted, IsEmpty());
  EXPECT_TRUE(driver.RunUntilOver(other));
  EXPECT_TRUE(driver.RunUntilOver(high));
  EXPECT_TRUE(driver.RunUntilOver(low));
}

// Pages run out: priority decides within a tenant, arrival between tenants.
TEST(SchedulerTenantsTest, APriorityKeepsNoPagesFromAnotherTenant) {
  SchedulerDriver driver(Config(500, 8), 6);
  const int64_t first = driver.Add(Group("a", 60, 200));
  driver.AdvanceClock(absl::Seconds(1));
  const int64_t high = driver.Add(Group("b", 60, 200, 1, 100));
  std::vector<int64_t> preempted;
  while (driver.is_open(first)) {
    for (const SequenceId id : driver.Step().preempted) preempted.push_back(id.group);
  }
  EXPECT_THAT(preempted, ElementsAre(high));
  EXPECT_TRUE(driver.RunUntilOver(high));
}

TEST(SchedulerTenantsTest, ATenantsClaimsGoToItsHighestInRank) {
  SchedulerDriver driver(Config(500, 8), 6);
  const int64_t low = driver.Add(Group("a", 60, 200, 1, 0));
  const int64_t other = driver.Add(Group("b", 60, 200));
  const int64_t high = driver.Add(Group("a", 60, 200, 1, 1));
  std::vector<int64_t> preempted;
  while (driver.is_open(high)) {
    for (const SequenceId id : driver.Step().preempted) preempted.push_back(id.group);
  }
  // "a" came first and last: what it holds by its last arrival is its lowest in rank.
  ASSERT_FALSE(preempted.empty());
  EXPECT_EQ(preempted.front(), low);
  EXPECT_TRUE(driver.RunUntilOver(other));
  EXPECT_TRUE(driver.RunUntilOver(low));
}

TEST(SchedulerTenantsTest, WaitingIsCountedByPriority) {
  SchedulerDriver driver(Config(64, 1), 100);
  for (const int32_t priority : {-5, -1, 0, 1, 2, 3}) driver.Add(Group("a", 5, 5, 1, priority));
  EXPECT_THAT(driver.scheduler().waiting_by_priority(), ElementsAre(2, 1, 3));
  driver.Step();
  EXPECT_THAT(driver.scheduler().waiting_by_priority(), ElementsAre(2, 1, 2));
  EXPECT_EQ(driver.scheduler().waiting_sequences(), 5);
}

// Everybody's requests end, whatever tenants, priorities, pauses and cancellations there are, and
// each step does something for somebody.
TEST(SchedulerTenantsTest, RandomTenantsAllEnd) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const auto below = [&](int n) { return static_cast<int>(random() % n); };
  SchedulerDriver driver(Config(70, 6), 12);
  std::set<int64_t> paused;
  const auto pick = [&] { return driver.open_groups()[below(driver.num_open())]; };
  for (int round = 0; round < 3000; ++round) {
    if (driver.num_open() < 20 && below(4) == 0) {
      SequenceGroup group = Group(absl::StrCat("tenant", below(5)), 1 + below(400), 1 + below(150),
                                  1 + below(4), below(7) - 3);
      group.num_samples = 1 + below(4) * below(2);
      driver.Add(std::move(group));
    }
    if (driver.num_open() > 0 && below(30) == 0) driver.Cancel(pick());
    if (driver.num_open() > 0 && below(10) == 0) {
      const int64_t group = pick();
      const bool pause = paused.insert(group).second;
      if (!pause) paused.erase(group);
      driver.scheduler().SetPaused(group, pause);
    }
    driver.AdvanceClock(absl::Seconds(1));
    const StepPlan plan = driver.Step();
    const std::vector<int64_t> open = driver.open_groups();
    const bool somebody_can_run =
        std::any_of(open.begin(), open.end(), [&](int64_t g) { return !paused.contains(g); });
    ASSERT_TRUE(!somebody_can_run || !plan.chunks.empty()) << "round " << round;
  }
  for (const int64_t group : driver.open_groups()) driver.scheduler().SetPaused(group, false);
  for (const int64_t group : driver.open_groups()) ASSERT_TRUE(driver.RunUntilOver(group));
  EXPECT_EQ(driver.scheduler().pool().active_pages(), 0);
  EXPECT_EQ(driver.scheduler().waiting_sequences(), 0);
}

}  // namespace
}  // namespace sieve
