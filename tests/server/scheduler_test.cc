#include "server/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "tests/server/scheduler_driver.h"

namespace sieve {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<int32_t> Prompt(int64_t length, int32_t first = 0) {
  std::vector<int32_t> tokens(length);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

// (group, sample, start, count) of each chunk.
std::vector<std::vector<int64_t>> Chunks(const StepPlan& plan) {
  std::vector<std::vector<int64_t>> chunks;
  for (const Chunk& chunk : plan.chunks) {
    chunks.push_back({chunk.sequence.group, chunk.sequence.sample, chunk.start, chunk.count});
  }
  return chunks;
}

using C = std::vector<int64_t>;

SchedulerConfig Config(int64_t max_step_tokens = 100, int64_t max_running = 8) {
  SchedulerConfig config;
  config.max_step_tokens = max_step_tokens;
  config.max_running_sequences = max_running;
  return config;
}

TEST(SchedulerTest, NothingToDo) {
  SchedulerDriver driver(Config(), 4);
  EXPECT_THAT(driver.Step().chunks, IsEmpty());
}

TEST(SchedulerTest, PrefillsInChunksUnderTheBudgetThenDecodes) {
  SchedulerDriver driver(Config(), 8);
  const int64_t a = driver.Add(Prompt(250), 3);
  const StepPlan first = driver.Step();
  EXPECT_THAT(Chunks(first), ElementsAre(C{a, 0, 0, 100}));
  EXPECT_FALSE(first.chunks[0].wants_logits);
  ASSERT_EQ(first.started.size(), 1);
  EXPECT_EQ(first.started[0].group, a);
  EXPECT_THAT(Chunks(driver.Step()), ElementsAre(C{a, 0, 100, 100}));
  const StepPlan third = driver.Step();
  EXPECT_THAT(Chunks(third), ElementsAre(C{a, 0, 200, 50}));
  EXPECT_TRUE(third.chunks[0].wants_logits);
  EXPECT_THAT(third.started, IsEmpty());
  EXPECT_THAT(Chunks(driver.Step()), ElementsAre(C{a, 0, 250, 1}));
  EXPECT_THAT(Chunks(driver.Step()), ElementsAre(C{a, 0, 251, 1}));
  EXPECT_FALSE(driver.is_open(a));
  EXPECT_EQ(driver.scheduler().pool().active_pages(), 0);
}

TEST(SchedulerTest, DecodesGoFirstAndPrefillGetsTheRest) {
  SchedulerDriver driver(Config(), 16);
  const int64_t a = driver.Add(Prompt(10), 50);
  driver.Step();
  const int64_t b = driver.Add(Prompt(150, 500), 50);
  const int64_t c = driver.Add(Prompt(20, 900), 50);
  EXPECT_THAT(Chunks(driver.Step()), ElementsAre(C{a, 0, 10, 1}, C{b, 0, 0, 99}));
  EXPECT_THAT(Chunks(driver.Step()), ElementsAre(C{a, 0, 11, 1}, C{b, 0, 99, 51}, C{c, 0, 0, 20}));
  EXPECT_THAT(Chunks(driver.Step()), ElementsAre(C{a, 0, 12, 1}, C{b, 0, 150, 1}, C{c, 0, 20, 1}));
}

TEST(SchedulerTest, PrefillGetsOnEvenWhenDecodesTakeTheBudget) {
  SchedulerDriver driver(Config(2), 16);
  const int64_t a = driver.Add(Prompt(1), 50);
  const int64_t b = driver.Add(Prompt(1, 5), 50);
  driver.Step();
  const int64_t c = driver.Add(Prompt(3, 9), 50);
  EXPECT_THAT(Chunks(driver.Step()), ElementsAre(C{a, 0, 1, 1}, C{b, 0, 1, 1}, C{c, 0, 0, 1}));
}

TEST(SchedulerTest, HigherPriorityPrefillsFirst) {
  SchedulerDriver driver(Config(), 32);
  const int64_t low = driver.Add(Prompt(250), 5, -1);
  driver.Step();
  const int64_t high = driver.Add(Prompt(150, 1000), 5, 1);
  EXPECT_THAT(Chunks(driver.Step()), ElementsAre(C{high, 0, 0, 100}));
  EXPECT_THAT(Chunks(driver.Step()), ElementsAre(C{high, 0, 100, 50}, C{low, 0, 100, 50}));
}

TEST(SchedulerTest, NobodyPassesTheFirstInLine) {
  SchedulerDriver driver(Config(), 8);
  const int64_t a = driver.Add(Prompt(300), 20);
  for (int i = 0; i < 3; ++i) driver.Step();
  const int64_t big = driver.Add(Prompt(400, 1000), 5);
  const int64_t small = driver.Add(Prompt(5, 2000), 5);
  EXPECT_THAT(Chunks(driver.Step()), ElementsAre(C{a, 0, 300, 1}));
  ASSERT_TRUE(driver.RunUntilOver(a));
  EXPECT_EQ(Chunks(driver.Step())[0], (C{big, 0, 0, 100}));
  ASSERT_TRUE(driver.RunUntilOver(big));
  EXPECT_TRUE(driver.RunUntilOver(small));
}

TEST(SchedulerTest, ReusesPrefixesButComputesTheLastToken) {
  for (const int64_t length : {1, 63, 64, 65, 128, 129, 200}) {
    SchedulerDriver driver(Config(), 8);
    driver.RunUntilOver(driver.Add(Prompt(length), 1));
    const int64_t b = driver.Add(Prompt(length), 1);
    const StepPlan plan = driver.Step();
    const int64_t cached = (length - 1) / kPageTokens * kPageTokens;
    EXPECT_THAT(Chunks(plan), ElementsAre(C{b, 0, cached, length - cached})) << length;
    EXPECT_EQ(plan.started[0].cached_tokens, cached);
    EXPECT_EQ(driver.scheduler().pool().cached_pages(), length / kPageTokens);
  }
}

TEST(SchedulerTest, WaitingRequestsFindWhatTheFirstComputed) {
  SchedulerDriver driver(Config(128), 64);
  std::vector<int64_t> groups;
  for (int i = 0; i < 5; ++i) groups.push_back(driver.Add(Prompt(300), 4));
  int64_t computed = 0;
  while (driver.num_open() > 0) {
    for (const Chunk& chunk : driver.Step().chunks) {
      if (chunk.start < 300) computed += chunk.count;
    }
  }
  EXPECT_LE(computed, 300 + 5 * (kPageTokens + 44));
}

TEST(SchedulerTest, SamplesShareThePromptAndCopyThePageThatTheyWriteTo) {
  for (const int64_t length : {63, 64, 65, 128}) {
    SchedulerDriver driver(Config(200), 16);
    const int64_t a = driver.Add(Prompt(length), 10, 0, 3);
    driver.Step();
    const int64_t prompt_pages = (length + kPageTokens - 1) / kPageTokens;
    EXPECT_EQ(driver.scheduler().pool().active_pages(), prompt_pages);
    const StepPlan plan = driver.Step();
    EXPECT_EQ(plan.chunks.size(), 3);
    const bool partial = length % kPageTokens != 0;
    // Two copy, the last one writes to the page that is its own by then.
    EXPECT_EQ(plan.copies.size(), partial ? 2 : 0) << length;
    EXPECT_EQ(driver.scheduler().pool().active_pages(), prompt_pages + (partial ? 2 : 3));
    ASSERT_TRUE(driver.RunUntilOver(a));
    EXPECT_EQ(driver.scheduler().pool().active_pages(), 0);
  }
}

TEST(SchedulerTest, SamplesTakeOneSlotEach) {
  SchedulerDriver driver(Config(100, 4), 64);
  const int64_t a = driver.Add(Prompt(5), 10, 0, 3);
  const int64_t b = driver.Add(Prompt(5, 100), 10, 0, 2);
  EXPECT_THAT(Chunks(driver.Step()), ElementsAre(C{a, 0, 0, 5}));
  EXPECT_EQ(driver.Step().chunks.size(), 3);
  ASSERT_TRUE(driver.RunUntilOver(a));
  EXPECT_THAT(Chunks(driver.Step()), ElementsAre(C{b, 0, 0, 5}));
}

TEST(SchedulerTest, WhenPagesRunOutTheLatestArrivalIsComputedAgain) {
  SchedulerDriver driver(Config(500), 5);
  const int64_t a = driver.Add(Prompt(60), 200);
  const int64_t b = driver.Add(Prompt(60, 1000), 200);
  std::vector<int64_t> preempted;
  while (driver.is_open(a)) {
    for (const SequenceId id : driver.Step().preempted) preempted.push_back(id.group);
  }
  EXPECT_THAT(preempted, ElementsAre(b));
  ASSERT_TRUE(driver.is_open(b));
  EXPECT_EQ(driver.scheduler().preemptions({b, 0}), 1);
  // It goes on where it was, from what is left of its pages in the cache.
  const int32_t generated = driver.generated(b);
  EXPECT_GT(generated, 0);
  driver.Step();
  EXPECT_EQ(driver.generated(b), generated + 1);
  EXPECT_TRUE(driver.RunUntilOver(b));
}

TEST(SchedulerTest, ThePreemptedGoesBeforeLaterArrivals) {
  SchedulerDriver driver(Config(500), 5);
  const int64_t a = driver.Add(Prompt(60), 200);
  const int64_t b = driver.Add(Prompt(60, 1000), 200);
  while (driver.Step().preempted.empty()) {
  }
  const int64_t c = driver.Add(Prompt(60, 2000), 10);
  ASSERT_TRUE(driver.RunUntilOver(a));
  EXPECT_EQ(Chunks(driver.Step())[0][0], b);
  EXPECT_TRUE(driver.RunUntilOver(c));
  EXPECT_TRUE(driver.RunUntilOver(b));
}

TEST(SchedulerTest, AHigherPriorityTakesRoomFromALowerOne) {
  for (const bool by_slots : {false, true}) {
    SchedulerDriver driver(Config(500, by_slots ? 1 : 8), by_slots ? 64 : 5);
    const int64_t low = driver.Add(Prompt(250), 50, 0);
    driver.Step();
    const int64_t same = driver.Add(Prompt(250, 1000), 50, 0);
    EXPECT_THAT(Chunks(driver.Step()), ElementsAre(C{low, 0, 250, 1}));
    const int64_t high = driver.Add(Prompt(250, 2000), 50, 1);
    const StepPlan plan = driver.Step();
    EXPECT_THAT(plan.preempted, ElementsAre(SequenceId{low, 0}));
    EXPECT_THAT(Chunks(plan), ElementsAre(C{high, 0, 0, 250}));
    ASSERT_TRUE(driver.RunUntilOver(high));
    EXPECT_TRUE(driver.is_open(low));
    ASSERT_TRUE(driver.RunUntilOver(low));
    EXPECT_TRUE(driver.is_open(same));
    EXPECT_TRUE(driver.RunUntilOver(same));
  }
}

TEST(SchedulerTest, AnExpiredGroupNeverStartsAnotherStep) {
  SchedulerDriver driver(Config(), 64);
  const absl::Time deadline = driver.now() + absl::Seconds(1);
  const int64_t running = driver.Add(Prompt(5), 100, 0, 2, deadline);
  driver.Step();
  const int64_t waiting = driver.Add(Prompt(5, 50), 100, 0, 1, deadline);
  driver.AdvanceClock(absl::Milliseconds(999));
  EXPECT_EQ(driver.Step().chunks.size(), 3);
  driver.AdvanceClock(absl::Milliseconds(1));
  const StepPlan plan = driver.Step();
  EXPECT_THAT(plan.expired, ElementsAre(running, waiting));
  EXPECT_THAT(plan.chunks, IsEmpty());
  EXPECT_EQ(driver.scheduler().pool().active_pages(), 0);
  driver.scheduler().Cancel(running);  // no effect
}

TEST(SchedulerTest, CancellingFreesPagesAtOnceWhateverTheState) {
  SchedulerDriver driver(Config(100, 3), 16);
  const int64_t decoding = driver.Add(Prompt(65), 100, 0, 2);
  driver.Step();
  driver.Step();
  const int64_t prefilling = driver.Add(Prompt(250, 1000), 5);
  driver.Step();
  const int64_t waiting = driver.Add(Prompt(5, 2000), 5);
  EXPECT_EQ(driver.scheduler().running_sequences(), 3);
  EXPECT_EQ(driver.scheduler().waiting_sequences(), 1);
  for (const int64_t group : {waiting, prefilling, decoding}) driver.Cancel(group);
  EXPECT_EQ(driver.scheduler().running_sequences(), 0);
  EXPECT_EQ(driver.scheduler().waiting_sequences(), 0);
  EXPECT_EQ(driver.scheduler().pool().active_pages(), 0);
  EXPECT_EQ(driver.scheduler().pool().CheckConsistency(), "");
  EXPECT_THAT(driver.Step().chunks, IsEmpty());
}

TEST(SchedulerTest, APausedGroupKeepsItsPagesWhileNobodyNeedsThem) {
  SchedulerDriver driver(Config(), 5);
  const int64_t a = driver.Add(Prompt(100), 100);
  driver.Step();
  driver.scheduler().SetPaused(a, true);
  EXPECT_THAT(driver.Step().chunks, IsEmpty());
  const int64_t small = driver.Add(Prompt(5, 500), 3);
  EXPECT_THAT(Chunks(driver.Step()), ElementsAre(C{small, 0, 0, 5}));
  EXPECT_TRUE(driver.RunUntilOver(small));
  EXPECT_EQ(driver.scheduler().pool().active_pages(), 2);
  // Somebody needs them, later in rank though it is.
  const int64_t big = driver.Add(Prompt(250, 1000), 70);
  EXPECT_THAT(driver.Step().preempted, ElementsAre(SequenceId{a, 0}));
  EXPECT_TRUE(driver.RunUntilOver(big));
  EXPECT_THAT(driver.Step().chunks, IsEmpty());
  driver.scheduler().SetPaused(a, false);
  EXPECT_TRUE(driver.RunUntilOver(a));
}

TEST(SchedulerTest, PausedGroupsDoNotHoldSlots) {
  SchedulerDriver driver(Config(100, 2), 64);
  const int64_t a = driver.Add(Prompt(5), 100);
  const int64_t b = driver.Add(Prompt(5, 10), 100);
  driver.Step();
  driver.scheduler().SetPaused(a, true);
  driver.scheduler().SetPaused(b, true);
  const int64_t c = driver.Add(Prompt(5, 20), 100);
  EXPECT_TRUE(driver.RunUntilOver(c, 200));
}

TEST(SchedulerTest, WhatFitsAloneFinishesAloneInAFullPool) {
  // Prompt, output, samples; pages of the pool are exactly what one sample needs.
  const int64_t cases[][3] = {{1, 1, 1},  {64, 1, 1},  {64, 2, 1},
                              {1, 64, 4}, {65, 64, 2}, {100, 200, 3}};
  for (const auto& [prompt, output, samples] : cases) {
    const int64_t pages = (prompt + output - 1 + kPageTokens - 1) / kPageTokens;
    EXPECT_TRUE(Scheduler::CheckFits(Config(), pages, prompt, output, samples).ok());
    EXPECT_EQ(Scheduler::CheckFits(Config(), pages - 1, prompt, output, samples).code(),
              absl::StatusCode::kResourceExhausted);
    SchedulerDriver driver(Config(), pages);
    EXPECT_TRUE(driver.RunUntilOver(driver.Add(Prompt(prompt), output, 0, samples)));
  }
  EXPECT_EQ(Scheduler::CheckFits(Config(100, 2), 100, 5, 5, 3).code(),
            absl::StatusCode::kResourceExhausted);
}

// Later arrivals of the same priority keep coming; the first one is done all the same.
TEST(SchedulerTest, AStreamOfLaterArrivalsStarvesNobody) {
  SchedulerDriver driver(Config(64, 4), 8);
  const int64_t big = driver.Add(Prompt(300), 200);
  int32_t first = 1000;
  int steps = 0;
  for (; driver.is_open(big) && steps < 1000; ++steps) {
    driver.Add(Prompt(30, first += 50), 20);
    driver.Step();
  }
  EXPECT_LE(steps, 5 + 200);
}

// Whatever happens, each step does something for somebody, the books balance, and everything ends.
TEST(SchedulerTest, RandomLoadEndsWithEveryPageBack) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const auto below = [&](int n) { return static_cast<int>(random() % n); };
  SchedulerDriver driver(Config(70, 6), 12);
  std::set<int64_t> paused;
  const auto pick = [&] { return driver.open_groups()[below(driver.num_open())]; };
  for (int round = 0; round < 3000; ++round) {
    if (driver.num_open() < 20 && below(4) == 0) {
      const int samples = 1 + below(4) * below(2);
      const absl::Time deadline =
          below(5) == 0 ? driver.now() + absl::Seconds(below(200)) : absl::InfiniteFuture();
      driver.Add(Prompt(1 + below(400), below(3)), 1 + below(150), below(3), samples, deadline);
    }
    if (driver.num_open() > 0 && below(20) == 0) driver.Cancel(pick());
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
}

}  // namespace
}  // namespace sieve
