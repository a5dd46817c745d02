// What a step costs beside the model, for many sequences: the plan, the check of the page tables,
// the accounts of the cache, taking the results. No model runs; requests end and others take their
// places, so that admission is in it. One JSON line.

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_cat.h"
#include "server/cache_accounts.h"
#include "server/page_table_check.h"
#include "server/scheduler.h"

ABSL_FLAG(int, running, 1000, "sequences that decode");
ABSL_FLAG(int, waiting, 10000, "requests that wait");
ABSL_FLAG(int, tenants, 20, "who they belong to, with weights 1, 2 and 3");
ABSL_FLAG(int, prompt_tokens, 960, "of each request; 15 pages");
ABSL_FLAG(int, generated_tokens, 512, "at most, of each request");
ABSL_FLAG(int, prefill_tokens, 5000, "a step, beside the sequences that decode");
ABSL_FLAG(int, steps, 500, "to measure");

namespace sieve {
namespace {

class Bench {
 public:
  Bench()
      : scheduler_(
            {.max_step_tokens = absl::GetFlag(FLAGS_running) + absl::GetFlag(FLAGS_prefill_tokens),
             .max_running_sequences = absl::GetFlag(FLAGS_running)},
            // Enough for all that run, so that what is measured does not depend on luck.
            absl::GetFlag(FLAGS_running) * 25) {}

  void Fill() {
    const int requests = absl::GetFlag(FLAGS_running) + absl::GetFlag(FLAGS_waiting);
    for (int i = 0; i < requests; ++i) Add();
    while (scheduler_.running_sequences() < absl::GetFlag(FLAGS_running)) Step();
    for (int i = 0; i < 50; ++i) Step();
    times_.clear();
  }

  void Step() {
    StepPlan plan;
    Time("plan", [&] { plan = scheduler_.Plan(now_); });
    Time("page_table_check", [&] {
      if (!check_.Find(plan, scheduler_).empty()) std::abort();
    });
    Time("cache_accounts", [&] {
      accounts_.AdvanceTo(now_);
      accounts_.Update(scheduler_);
    });
    int over = 0;
    Time("results", [&] { over = TakeResults(plan); });
    for (int i = 0; i < over; ++i) Add();
    sequences_ = plan.chunks.size();
  }

  void Print() {
    nlohmann::json line = {{"measurement", "scheduler_step"},
                           {"running", absl::GetFlag(FLAGS_running)},
                           {"waiting", absl::GetFlag(FLAGS_waiting)},
                           {"tenants", absl::GetFlag(FLAGS_tenants)},
                           {"pages_active", scheduler_.pool().active_pages()},
                           {"chunks_last_step", sequences_},
                           {"steps", absl::GetFlag(FLAGS_steps)}};
    for (auto& [name, times] : times_) {
      std::sort(times.begin(), times.end());
      line[name + "_us_median"] = times[times.size() / 2];
      line[name + "_us_p99"] = times[times.size() * 99 / 100];
    }
    std::cout << line.dump() << std::endl;
  }

 private:
  template <class Body>
  void Time(const std::string& name, Body body) {
    const auto begin = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - begin;
    times_[name].push_back(time.count());
  }

  void Add() {
    SequenceGroup group;
    const int tenant = random_() % absl::GetFlag(FLAGS_tenants);
    group.tenant = absl::StrCat("tenant", tenant);
    group.weight = 1 + tenant % 3;
    group.priority = static_cast<int>(random_() % 3) - 1;
    for (int i = 0; i < absl::GetFlag(FLAGS_prompt_tokens); ++i) {
      group.prompt.push_back(random_() % 100000);
    }
    group.max_tokens = 1 + random_() % absl::GetFlag(FLAGS_generated_tokens);
    group.arrival = now_;
    group.deadline = now_ + absl::Hours(1);
    left_[scheduler_.Add(group)] = group.max_tokens;
  }

  // How many requests ended.
  int TakeResults(const StepPlan& plan) {
    int over = 0;
    for (const Chunk& chunk : plan.chunks) {
      scheduler_.Begin(chunk);
      scheduler_.Commit(chunk);
      if (!chunk.wants_logits) continue;
      const auto left = left_.find(chunk.sequence.group);
      if (--left->second > 0) {
        scheduler_.Append(chunk.sequence, 7);
        continue;
      }
      scheduler_.Finish(chunk.sequence);
      accounts_.Erase(left->first);
      left_.erase(left);
      ++over;
    }
    now_ += absl::Milliseconds(100);
    return over;
  }

  Scheduler scheduler_;
  PageTableCheck check_;
  CacheAccounts accounts_;
  std::mt19937 random_{1};
  absl::Time now_ = absl::UnixEpoch();
  absl::flat_hash_map<int64_t, int32_t> left_;  // tokens to generate, by group
  std::map<std::string, std::vector<double>> times_;
  size_t sequences_ = 0;
};

}  // namespace
}  // namespace sieve

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  sieve::Bench bench;
  bench.Fill();
  for (int i = 0; i < absl::GetFlag(FLAGS_steps); ++i) bench.Step();
  bench.Print();
}
