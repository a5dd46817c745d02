#ifndef SIEVE_SERVER_SCHEDULER_H_
#define SIEVE_SERVER_SCHEDULER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/cache/page_pool.h"
#include "model/language_model.h"

namespace sieve {

struct SchedulerConfig {
  int64_t max_step_tokens = 512;  // decodes always run; prefill gets what they leave, at least 1
  int64_t max_running_sequences = 64;  // samples that hold pages at a time
  bool prefix_reuse = true;
};

// A prompt and the samples that continue it.
struct SequenceGroup {
  std::vector<int32_t> prompt;  // at least one token
  int32_t num_samples = 1;
  int32_t max_tokens = 1;  // generated for each sample
  int32_t priority = 0;    // higher first
  absl::Time deadline = absl::InfiniteFuture();
};

struct SequenceId {
  int64_t group = 0;
  int32_t sample = 0;

  friend bool operator==(const SequenceId& a, const SequenceId& b) {
    return a.group == b.group && a.sample == b.sample;
  }
};

// Tokens of one sequence to run in a step.
struct Chunk {
  SequenceId sequence;
  int64_t start = 0;  // position of the first token
  int64_t count = 0;
  bool wants_logits = false;  // the last token is the last one known: its logits give the next
};

// A group that runs for the first time.
struct StartedGroup {
  int64_t group = 0;
  int64_t cached_tokens = 0;  // of the prompt, found in the cache
};

struct StepPlan {
  std::vector<int64_t> expired;  // groups past their deadline; already removed
  std::vector<SequenceId> preempted;
  std::vector<StartedGroup> started;
  std::vector<PageCopy> copies;  // to be made in this order before the step
  std::vector<Chunk> chunks;     // decodes, then prefill
};

// Decides what every step computes and who holds which page. Pure policy: no thread, clock, model
// or device.
//
// Each step runs one token of every sequence that decodes, then prefill chunks under the token
// budget. Sequences are ranked by priority, then arrival, then sample. Waiting ones are admitted in
// that order, and only when the pages of all their known tokens can be had, with some to spare for
// those that decode; nobody passes one that has to wait for room. When pages run out, the lowest in
// rank (those with a reader behind before all others) loses its pages and waits to be computed
// again; the highest in rank that can run therefore always gets on. A waiting sequence takes the
// place of paused ones and of those with a lower priority.
//
// Not thread-safe. Unless told otherwise, functions REQUIRE sequences and groups that exist.
class Scheduler {
 public:
  Scheduler(const SchedulerConfig& config, int64_t num_pages);
  ~Scheduler();

  // RESOURCE_EXHAUSTED when a group could not run even with the whole cache to itself.
  static absl::Status CheckFits(const SchedulerConfig& config, int64_t num_pages,
                                int64_t prompt_tokens, int64_t max_tokens, int64_t num_samples);

  // Queues a group that fits; returns its id, which grows with every call.
  int64_t Add(SequenceGroup group);

  // The next step. The caller runs it and Commits each chunk, or Cancels the groups whose chunks
  // failed.
  StepPlan Plan(absl::Time now);

  // The chunk's keys and values are in the cache.
  void Commit(const Chunk& chunk);

  // Makes samples 1 .. num_samples-1 of a group whose prompt was just committed; they share its
  // pages.
  void Fork(int64_t group);

  // The token drawn after a chunk that wanted logits.
  void Append(SequenceId sequence, int32_t token);

  // The sequence is over; with its last sequence the group ends.
  void Finish(SequenceId sequence);

  // Ends all of a group. No effect when there is none.
  void Cancel(int64_t group);

  // While paused, a group keeps its pages, as long as nobody else needs them, but does not run.
  void SetPaused(int64_t group, bool paused);

  // Prompt and output so far.
  absl::Span<const int32_t> tokens(SequenceId sequence) const;
  // Pages in order of position, enough for the planned chunk.
  absl::Span<const int32_t> pages(SequenceId sequence) const;
  int32_t preemptions(SequenceId sequence) const;

  int64_t running_sequences() const { return static_cast<int64_t>(running_.size()); }
  int64_t waiting_sequences() const { return static_cast<int64_t>(waiting_.size()); }
  const PagePool& pool() const { return pool_; }

 private:
  struct Group;
  struct Sequence;
  struct ByRank {
    bool operator()(const Sequence* a, const Sequence* b) const;
  };
  using RankedSet = std::set<Sequence*, ByRank>;

  Sequence& Get(SequenceId id) const;
  void Expire(absl::Time now, StepPlan* plan);
  bool EnsureWritable(Sequence* sequence, StepPlan* plan);
  void AdmitWaiting(StepPlan* plan);
  bool HasPrefillBudgetFor(const Sequence& sequence) const;
  bool TryAdmit(Sequence* sequence);
  template <typename Predicate>
  bool PreemptLowest(const Sequence& beneficiary, Predicate may_preempt, StepPlan* plan);
  void Preempt(Sequence* sequence, StepPlan* plan);
  void AddChunks(StepPlan* plan);
  void AddChunk(Sequence* sequence, int64_t count, StepPlan* plan);
  void Remove(Sequence* sequence);

  const SchedulerConfig config_;
  PagePool pool_;
  int64_t next_group_ = 1;
  std::map<int64_t, std::unique_ptr<Group>> groups_;
  RankedSet running_;  // hold pages
  RankedSet waiting_;  // hold none
  int64_t slots_in_use_ = 0;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_SCHEDULER_H_
