// What adapters change of the scheduler's work.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "server/scheduler.h"
#include "tests/server/scheduler_driver.h"

namespace sieve {
namespace {

constexpr PrefixHash kRoot = {1, 2};

std::vector<int32_t> Prompt(int64_t length, int32_t first = 0) {
  std::vector<int32_t> tokens(length);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

SequenceGroup Group(std::vector<int32_t> prompt, int32_t max_tokens, int64_t query_tile,
                    const PrefixHash& root = kRoot) {
  SequenceGroup group;
  group.prompt = std::move(prompt);
  group.max_tokens = max_tokens;
  group.query_tile = query_tile;
  group.cache_root = root;
  group.adapter = 3;
  return group;
}

// (start, count) of the only chunk.
std::pair<int64_t, int64_t> OnlyChunk(const StepPlan& plan) {
  EXPECT_EQ(plan.chunks.size(), 1u);
  return {plan.chunks.at(0).start, plan.chunks.at(0).count};
}

int64_t CachedTokens(SchedulerDriver* driver, SequenceGroup group) {
  const int64_t id = driver->Add(std::move(group));
  const StepPlan plan = driver->Step();
  EXPECT_EQ(plan.started.size(), 1u);
  const int64_t cached = plan.started.at(0).cached_tokens;
  EXPECT_TRUE(driver->RunUntilOver(id));
  return cached;
}

using Span = std::pair<int64_t, int64_t>;

TEST(SchedulerAdapterTest, TellsAdapterAndPromptOfASequence) {
  SchedulerDriver driver({}, 16);
  const int64_t adapted = driver.Add(Group(Prompt(70), 5, 1));
  const int64_t base = driver.Add(Prompt(7), 5);
  driver.Step();
  driver.Step();
  EXPECT_EQ(driver.scheduler().adapter({adapted, 0}), 3);
  EXPECT_EQ(driver.scheduler().prompt_tokens({adapted, 0}), 70);
  EXPECT_EQ(driver.scheduler().adapter({base, 0}), -1);
}

TEST(SchedulerAdapterTest, PrefixesAreSharedUnderOneAdapterOnly) {
  SchedulerDriver driver({}, 32);
  EXPECT_EQ(CachedTokens(&driver, Group(Prompt(130), 2, 1)), 0);
  EXPECT_EQ(CachedTokens(&driver, Group(Prompt(130), 2, 1)), 128);
  EXPECT_EQ(CachedTokens(&driver, Group(Prompt(130), 2, 1, {1, 3})), 0);
  EXPECT_EQ(CachedTokens(&driver, Group(Prompt(130), 2, 1, {})), 0);
  EXPECT_EQ(CachedTokens(&driver, Group(Prompt(130), 2, 1)), 128);
}

TEST(SchedulerAdapterTest, StepsEndBetweenTiles) {
  for (const int64_t tile : {1, 16, 64}) {
    SchedulerDriver driver({.max_step_tokens = 100}, 16);
    driver.Add(Group(Prompt(250), 3, tile));
    const int64_t whole = 100 / tile * tile;
    EXPECT_EQ(OnlyChunk(driver.Step()), Span(0, whole)) << tile;
    EXPECT_EQ(OnlyChunk(driver.Step()), Span(whole, whole)) << tile;
    // What fills no tile is cut anywhere.
    const int64_t left = 250 - 2 * whole;
    EXPECT_EQ(OnlyChunk(driver.Step()), Span(2 * whole, std::min<int64_t>(left, 100))) << tile;
    if (left > 100) {
      EXPECT_EQ(OnlyChunk(driver.Step()), Span(2 * whole + 100, left - 100)) << tile;
    }
    EXPECT_EQ(OnlyChunk(driver.Step()), Span(250, 1)) << tile;
  }
}

TEST(SchedulerAdapterTest, ATileThatDoesNotFitLeavesItsRoomToOthers) {
  SchedulerDriver driver({.max_step_tokens = 100}, 32);
  const int64_t tiled = driver.Add(Group(Prompt(300), 3, 64));
  const int64_t other = driver.Add(Prompt(300, 1000), 3);
  const StepPlan plan = driver.Step();
  ASSERT_EQ(plan.chunks.size(), 1u);  // the second is admitted when the first's end is near
  EXPECT_EQ(plan.chunks[0].count, 64);
  ASSERT_TRUE(driver.RunUntilOver(tiled));
  EXPECT_TRUE(driver.RunUntilOver(other));
}

// A choice within a page depends on the prompt's having all of its tokens.
TEST(SchedulerAdapterTest, WithTilesOnlyPagesOfPromptsAreShared) {
  for (const int64_t tile : {1, 16}) {
    SchedulerDriver driver({}, 32);
    EXPECT_EQ(CachedTokens(&driver, Group(Prompt(100), 60, tile)), 0);
    std::vector<int32_t> longer = Prompt(100);
    for (int32_t i = 1; i < 60; ++i) longer.push_back(i);  // as the driver generates
    EXPECT_EQ(CachedTokens(&driver, Group(longer, 2, tile)), tile == 1 ? 128 : 64);
    EXPECT_EQ(CachedTokens(&driver, Group(longer, 2, tile)), 128);
  }
}

// Whatever comes and goes, chunks cut no tile that a prompt fills.
TEST(SchedulerAdapterTest, NoTileIsCutUnderRandomUse) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  SchedulerDriver driver({.max_step_tokens = 80, .max_running_sequences = 16}, 18);
  std::map<int64_t, std::pair<int64_t, int64_t>> shapes;  // tile, prompt
  int64_t preempted = 0;
  for (int step = 0; step < 3000; ++step) {
    if (random() % 8 == 0 && driver.num_open() < 12) {
      const int64_t tile = std::vector<int64_t>{1, 16, 64}[random() % 3];
      const int64_t length = 1 + random() % 300;
      SequenceGroup group = Group(Prompt(length), 1 + random() % 120, tile, {random() % 2, 0});
      group.num_samples = 1 + random() % 2;
      shapes[driver.Add(std::move(group))] = {tile, length};
    }
    const StepPlan plan = driver.Step();
    preempted += plan.preempted.size();
    EXPECT_TRUE(driver.num_open() == 0 || !plan.chunks.empty());
    for (const Chunk& chunk : plan.chunks) {
      const auto [tile, prompt] = shapes.at(chunk.sequence.group);
      const int64_t end = chunk.start + chunk.count;
      EXPECT_TRUE(chunk.start >= prompt / tile * tile || chunk.start % tile == 0);
      EXPECT_TRUE(end >= prompt / tile * tile || end % tile == 0);
    }
  }
  EXPECT_GT(preempted, 0);
}

}  // namespace
}  // namespace sieve
