#ifndef SIEVE_SERVER_ENGINE_CORE_H_
#define SIEVE_SERVER_ENGINE_CORE_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/host_step_runner.h"
#include "model/language_model.h"
#include "model/step_runner.h"
#include "model/tokenizer/tokenizer.h"
#include "server/admission.h"
#include "server/cache_accounts.h"
#include "server/engine_batch.h"
#include "server/engine_config.h"
#include "server/engine_observer.h"
#include "server/engine_sample.h"
#include "server/engine_step.h"
#include "server/open_request.h"
#include "server/page_table_check.h"
#include "server/scheduler.h"

namespace sieve {

// What happens in the engine's thread: plans, steps, samples, events. Everything here but
// CountCachedPages is that thread's own. Functions may throw what allocations and the model throw;
// Recover then brings the core back to a state in which it goes on.
//
// Where the model's runner takes a step while another is in flight, the next one is planned as if
// every sample went on to its max_tokens: the device computes while text, events and plans are
// made. A sample that ended meanwhile, by a stop or because its reader left, is in one step more;
// what it draws there is dropped. Its pages need not wait for that: steps run in order.
class EngineCore {
 public:
  // What the core tells its owner.
  class Owner {
   public:
    virtual ~Owner() = default;
    // The request is about to start, or ended without.
    virtual void OnLeftQueue(const OpenRequest& open) = 0;
    virtual void OnStepDone(const Admission::Step& step) = 0;
    // Before events that tell of the same. `prefill_backlog`: prompt tokens that running requests
    // have still to compute.
    virtual void OnStats(const EngineStats& stats, int64_t prefill_backlog) = 0;
    // No step will succeed any more.
    virtual void OnBroken(const absl::Status& status) = 0;
  };

  // All are borrowed.
  EngineCore(const EngineConfig& config, LanguageModel* model, const Tokenizer* tokenizer,
             EngineObserver* observer, Owner* owner);

  // Where new requests are put; Step takes them from there.
  std::vector<std::unique_ptr<OpenRequest>>* incoming() { return &incoming_; }

  // Ends what is over, plans and submits a step, hands out the oldest when no further one can be
  // submitted. False when there was nothing to do but wait.
  bool Step();

  // Puts an adapter into a slot of the model's, or empties it, between steps: those in flight are
  // handed out first.
  absl::Status SetAdapter(int32_t slot, std::shared_ptr<const Adapter> adapter);

  // Ends requests; those that have not begun to run, or all.
  void EndUnstarted(const absl::Status& status);
  void EndAll(const absl::Status& status);

  // After an exception: ends all requests with `status`, takes back all pages.
  void Recover(const absl::Status& status);

  // When a deadline or a stalled reader asks for the next Step at the latest.
  absl::Time NextTimeout() const;

  // Pages of the cache that a prompt would find now. Thread-safe.
  int64_t CountCachedPages(const GenerationRequest& request) const;

 private:
  // A request that is over, and has not been told so yet.
  struct Ended {
    std::unique_ptr<OpenRequest> open;
    absl::Status status;
    absl::Time time;
    CacheAccounts::Use use;
  };

  void Fault(FaultPoint point);
  void OpenIncoming();
  void CheckReaders(absl::Time now);
  void CheckReader(int64_t group, OpenRequest* open, absl::Time now);
  bool PlanAndSubmit(absl::Time now);
  void DropBrokenTables(StepPlan* plan);
  bool DrawsAhead(const StepPlan& plan) const;
  void DropOver(StepPlan* plan);
  bool IsOver(const Chunk& chunk) const;
  void Submit(const StepPlan& plan, absl::Time now);
  int64_t Start(const StepPlan& plan, absl::Time now);
  StepRecord CountTokens(const StepPlan& plan) const;
  absl::Status TrySubmit(const StepPlan& plan, EngineStep* step);
  void ListDraws(const StepPlan& plan, EngineStep* step);
  void Begin(const EngineStep& step);
  void CollectAll();
  void Collect();
  absl::StatusOr<std::vector<DrawnToken>> TryCollect();
  void Fail(const EngineStep& step, const absl::Status& status);
  void TakeResults(const EngineStep& step, absl::Span<DrawnToken> drawn, absl::Time now);
  absl::Status TakeResult(const Chunk& chunk, OpenRequest* open, absl::Span<DrawnToken> drawn,
                          absl::Time now);
  void CountReads(const Chunk& chunk, OpenRequest* open);
  void TakeToken(SequenceId id, int64_t position, OpenRequest* open, DrawnToken drawn,
                 absl::Time now);
  void Tell(EngineStep step, absl::Time done);
  void FinishSample(SequenceId id, OpenRequest* open, EngineSample::Output output);
  void DropInFlight();
  void End(int64_t group, const absl::Status& status);
  void Close(int64_t group, std::unique_ptr<OpenRequest> open, const absl::Status& status);
  void TellEnded();
  void PublishStats();

  const EngineConfig config_;
  LanguageModel* const model_;
  HostStepRunner host_runner_;  // where the model has none of its own
  StepRunner* const runner_;
  const Tokenizer* const tokenizer_;
  EngineObserver* const observer_;
  Owner* const owner_;

  Scheduler scheduler_;
  std::vector<std::unique_ptr<OpenRequest>> incoming_;
  std::map<int64_t, std::unique_ptr<OpenRequest>> open_;  // by the scheduler's group
  std::vector<Ended> ended_;
  EngineBatch batch_;
  PageTableCheck table_check_;
  CacheAccounts accounts_;
  std::vector<Draw> draws_;           // of the step being submitted
  std::deque<EngineStep> in_flight_;  // submitted, not collected
  bool wants_preemption_ = false;     // the last plan did
  absl::Time last_done_ = absl::InfinitePast();
  EngineStats totals_;
};

SchedulerConfig SchedulerConfigOf(const EngineConfig& config);

// The status of an exception that is being handled: RESOURCE_EXHAUSTED when memory ran out, else
// INTERNAL.
absl::Status StatusOfException();

}  // namespace sieve

#endif  // SIEVE_SERVER_ENGINE_CORE_H_
