#ifndef SIEVE_TESTS_SERVER_SCHEDULER_DRIVER_H_
#define SIEVE_TESTS_SERVER_SCHEDULER_DRIVER_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "server/scheduler.h"

namespace sieve {

// Plays the engine for a scheduler: runs its plans on paper, draws made-up tokens, and checks in
// each step what must always hold.
class SchedulerDriver {
 public:
  SchedulerDriver(const SchedulerConfig& config, int64_t num_pages)
      : scheduler_(config, num_pages) {}

  Scheduler& scheduler() { return scheduler_; }
  absl::Time now() const { return now_; }
  void AdvanceClock(absl::Duration by) { now_ += by; }

  int64_t Add(std::vector<int32_t> prompt, int32_t max_tokens, int32_t priority = 0,
              int32_t num_samples = 1, absl::Time deadline = absl::InfiniteFuture()) {
    SequenceGroup group;
    group.prompt = std::move(prompt);
    group.max_tokens = max_tokens;
    group.priority = priority;
    group.num_samples = num_samples;
    group.deadline = deadline;
    return Add(std::move(group));
  }

  // Arrives now.
  int64_t Add(SequenceGroup group) {
    group.arrival = now_;
    Open open = {group.num_samples, group.max_tokens, std::vector<int32_t>(group.num_samples), 0};
    const int64_t id = scheduler_.Add(std::move(group));
    open_[id] = std::move(open);
    return id;
  }

  void Cancel(int64_t group) {
    scheduler_.Cancel(group);
    open_.erase(group);
  }

  // Plans and runs one step.
  StepPlan Step() {
    const StepPlan plan = scheduler_.Plan(now_);
    for (const int64_t group : plan.expired) open_.erase(group);
    CheckPlan(plan);
    for (const Chunk& chunk : plan.chunks) {
      scheduler_.Begin(chunk);
      scheduler_.Commit(chunk);
      if (chunk.wants_logits) Draw(chunk.sequence);
    }
    EXPECT_EQ(scheduler_.pool().CheckConsistency(), "");
    return plan;
  }

  // Runs steps until a group is over; false after too many.
  bool RunUntilOver(int64_t group, int max_steps = 10000) {
    for (int i = 0; i < max_steps && open_.contains(group); ++i) Step();
    return !open_.contains(group);
  }

  bool is_open(int64_t group) const { return open_.contains(group); }
  int num_open() const { return open_.size(); }
  std::vector<int64_t> open_groups() const {
    std::vector<int64_t> groups;
    for (const auto& [group, open] : open_) groups.push_back(group);
    return groups;
  }
  int32_t generated(int64_t group, int32_t sample = 0) const {
    return open_.at(group).generated[sample];
  }

 private:
  struct Open {
    int32_t num_samples;
    int32_t max_tokens;
    std::vector<int32_t> generated;
    int32_t finished;
  };

  void Draw(SequenceId id) {
    Open& open = open_.at(id.group);
    if (open.generated[0] > 0) {
      DrawFor(id, &open);
      return;
    }
    scheduler_.Fork(id.group);
    for (int32_t i = 0; i < open.num_samples; ++i) DrawFor({id.group, i}, &open);
    if (open.finished == open.num_samples) open_.erase(id.group);
  }

  void DrawFor(SequenceId id, Open* open) {
    const int32_t generated = ++open->generated[id.sample];
    if (generated < open->max_tokens) {
      scheduler_.Append(id, 1000 * id.sample + generated);
      return;
    }
    scheduler_.Finish(id);
    ++open->finished;
    if (generated > 1 && open->finished == open->num_samples) open_.erase(id.group);
  }

  // Every chunk has pages of its own to write to.
  void CheckPlan(const StepPlan& plan) {
    std::set<std::pair<int64_t, int32_t>> sequences;
    std::set<int32_t> written;
    for (const Chunk& chunk : plan.chunks) {
      const int64_t end = chunk.start + chunk.count;
      const auto pages = scheduler_.pages(chunk.sequence);
      EXPECT_TRUE(sequences.insert({chunk.sequence.group, chunk.sequence.sample}).second);
      EXPECT_GT(chunk.count, 0);
      ASSERT_LE(end, scheduler_.tokens(chunk.sequence).size());
      EXPECT_EQ(chunk.wants_logits, end == scheduler_.tokens(chunk.sequence).size());
      ASSERT_LE((end + kPageTokens - 1) / kPageTokens, pages.size());
      for (int64_t i = chunk.start / kPageTokens; i * kPageTokens < end; ++i) {
        EXPECT_TRUE(written.insert(pages[i]).second) << "page " << pages[i] << " has two writers";
        EXPECT_FALSE(scheduler_.pool().IsShared(pages[i]));
      }
    }
  }

  Scheduler scheduler_;
  absl::Time now_ = absl::UnixEpoch();
  std::map<int64_t, Open> open_;
};

}  // namespace sieve

#endif  // SIEVE_TESTS_SERVER_SCHEDULER_DRIVER_H_
