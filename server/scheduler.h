#ifndef SIEVE_SERVER_SCHEDULER_H_
#define SIEVE_SERVER_SCHEDULER_H_

#include <array>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/cache/page_pool.h"
#include "model/cache/prefix_hash.h"
#include "model/language_model.h"
#include "server/fair_shares.h"

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
  int32_t priority = 0;    // a step ranks as kPriorityStep of waiting, within the tenant
  std::string tenant;      // who shares by weight
  double weight = 1;       // > 0, finite
  int32_t adapter = -1;    // slot of the model's, -1: none
  int64_t query_tile = 1;  // of the adapter: 1, or tokens that a step computes together
  PrefixHash cache_root;   // what keys and values depend on besides tokens
  absl::Time arrival;
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
  // Somebody would run, or be admitted, if others could be preempted.
  bool wants_preemption = false;
};

// Decides what every step computes and who holds which page. Pure policy: no thread, clock, model
// or device.
//
// Each step runs one token of every sequence that decodes, then prefill chunks under the token
// budget.
//
// Rank. Within a tenant sequences are ranked by arrival - priority * kPriorityStep, then id, then
// sample: a key that never changes, so that whoever waits comes first some day whatever the
// priorities of those that come later. Between tenants the one that has had the least service for
// its weight is next (FairShares), to be admitted and to prefill.
//
// Admission. The next tenant's highest in rank is admitted when the pages of all its known tokens
// can be had, with some to spare for those that decode; nobody passes one that has to wait for
// room. It takes the place of paused sequences and of those of its own tenant with a lower priority
// and rank, but of no other tenant's.
//
// Preemption. When pages run out, sequences lose theirs and wait to be computed again: those with
// a reader behind before all others, then by claim, the latest first. A tenant's claims are the
// arrivals of its running groups; its highest in rank has the earliest. So priority decides who of
// a tenant runs, but takes no page from other tenants, and the highest in rank of the tenant with
// the earliest arrival always gets on.
//
// Tiles. The tokens of a prompt that share a choice of blocks are computed in one step, so steps
// end between tiles; and what was chosen within a page depends on the prompt having all of the
// page's tokens, so only whole pages of prompts are shared (docs/adapters.md). REQUIRES for a tile
// above 1: max_step_tokens - max_running_sequences holds a tile.
//
// A step costs O(running) and O(log) of what waits for each sequence that is added, admitted or
// ends; only where pages run out are the running ones sorted.
//
// Not thread-safe but where told. Unless told otherwise, functions REQUIRE sequences and groups
// that exist.
class Scheduler {
 public:
  Scheduler(const SchedulerConfig& config, int64_t num_pages);
  ~Scheduler();

  // RESOURCE_EXHAUSTED when a group could not run even with the whole cache to itself.
  static absl::Status CheckFits(const SchedulerConfig& config, int64_t num_pages,
                                int64_t prompt_tokens, int64_t max_tokens, int64_t num_samples);

  // Pages that a group holds when its prompt is computed (max_tokens 1, one sample), or at most.
  static int64_t PeakPages(int64_t prompt_tokens, int64_t max_tokens, int64_t num_samples);

  // Queues a group that fits; returns its id, which grows with every call.
  int64_t Add(SequenceGroup group);

  // The next step. The caller submits it to the model, Begins each chunk, and Commits it when the
  // model is done, or Cancels the groups whose chunks failed. It may plan on before it Commits: the
  // steps run in the order of their plans. It must not preempt as long as a chunk is begun and
  // not committed, for what that chunk computes would be lost.
  StepPlan Plan(absl::Time now, bool may_preempt = true);

  // The chunk counts as computed, for the plans that follow.
  void Begin(const Chunk& chunk);

  // Makes samples 1 .. num_samples-1 of a group the last chunk of whose prompt was just begun; they
  // share its pages.
  void Fork(int64_t group);

  // The token drawn after a chunk that wanted logits; or one that stands for it until SetToken,
  // which has no effect where none was appended. Without a next token a sequence runs no further.
  void Append(SequenceId sequence, int32_t token);
  void SetToken(SequenceId sequence, int64_t position, int32_t token);

  // The chunk's keys and values are in the cache, where others may find them. REQUIRES: begun, not
  // preempted since; its tokens are known.
  void Commit(const Chunk& chunk);

  // The sequence is over; with its last sequence the group ends.
  void Finish(SequenceId sequence);

  // Ends all of a group. No effect when there is none.
  void Cancel(int64_t group);

  // Ends groups whose page tables cannot be trusted: their pages go back by what the other
  // sequences hold, and nothing stays cached. No effect for those that do not exist.
  void Discard(absl::Span<const int64_t> groups);

  // Ends all groups, trusting no books: after this all pages are free.
  void Clear();

  // While paused, a group keeps its pages, as long as nobody else needs them, but does not run.
  void SetPaused(int64_t group, bool paused);

  // Prompt and output so far.
  absl::Span<const int32_t> tokens(SequenceId sequence) const;
  // Pages in order of position, enough for the planned chunk.
  absl::Span<const int32_t> pages(SequenceId sequence) const;
  int32_t preemptions(SequenceId sequence) const;
  int32_t adapter(SequenceId sequence) const;
  int64_t prompt_tokens(SequenceId sequence) const;

  // Every sequence that holds pages, in a fixed order.
  void ForEachRunning(
      absl::FunctionRef<void(SequenceId, absl::Span<const int32_t> pages)> function) const;

  int64_t running_sequences() const { return static_cast<int64_t>(running_.size()); }
  // Samples of one that has not started count once.
  int64_t waiting_sequences() const;
  // Of them, those of priority < 0, 0 and > 0.
  const std::array<int64_t, 3>& waiting_by_priority() const { return waiting_by_priority_; }
  // Tokens that running sequences have still to compute before their next token.
  int64_t prefill_backlog() const;
  int64_t remembered_tenants() const { return shares_.size(); }
  const PagePool& pool() const { return pool_; }

  // To break the books on purpose.
  std::vector<int32_t>* mutable_pages_for_test(SequenceId sequence);

 private:
  struct Group;
  struct Sequence;
  struct Load;
  struct Lack;
  struct ByRank {
    bool operator()(const Sequence* a, const Sequence* b) const;
  };
  using RankedSet = std::set<Sequence*, ByRank>;
  using Tenant = FairShares::Tenant;

  Sequence& Get(SequenceId id) const;
  void Expire(absl::Time now, StepPlan* plan);
  bool MakeWritable(bool may_preempt, StepPlan* plan);
  void MakeWritableByClaim(StepPlan* plan);
  int64_t WantedPages(const Sequence& sequence) const;
  bool TryMakeWritable(Sequence* sequence, StepPlan* plan);
  std::vector<Sequence*> ByClaim() const;
  void AdmitWaiting(bool may_preempt, StepPlan* plan);
  bool Admit(Sequence* sequence, bool may_preempt, Load* load, StepPlan* plan);
  bool TryAdmit(Sequence* sequence, Lack* lack);
  Sequence* VictimFor(const Sequence& beneficiary, const Lack& lack) const;
  Load CurrentLoad() const;
  bool HasPrefillBudgetFor(const Sequence& sequence, const Load& load) const;
  static bool PrefillsBefore(const Sequence* a, const Sequence* b);
  void Preempt(Sequence* sequence, StepPlan* plan);
  void AddChunks(StepPlan* plan);
  void AddChunk(Sequence* sequence, int64_t count, StepPlan* plan);
  static int64_t WholeTiles(const Sequence& sequence, int64_t count);
  void Publish(Sequence* sequence, int64_t page);
  void EnterWaiting(Sequence* sequence);
  void LeaveWaiting(Sequence* sequence);
  void ShowWaiting(Sequence* sequence);
  void HideWaiting(Sequence* sequence);
  void Remove(Sequence* sequence);
  void Forget(int64_t group);

  const SchedulerConfig config_;
  PagePool pool_;
  FairShares shares_;
  int64_t next_group_ = 1;
  absl::flat_hash_map<int64_t, std::unique_ptr<Group>> groups_;
  std::set<std::pair<absl::Time, int64_t>> deadlines_;  // finite ones, with the group
  RankedSet running_;                                   // hold pages
  absl::flat_hash_map<Tenant*, RankedSet> waiting_;     // hold none, not paused
  std::array<int64_t, 3> waiting_by_priority_{};        // paused ones too
  int64_t slots_in_use_ = 0;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_SCHEDULER_H_
