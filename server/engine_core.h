#ifndef SIEVE_SERVER_ENGINE_CORE_H_
#define SIEVE_SERVER_ENGINE_CORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/language_model.h"
#include "model/sampling/sampler.h"
#include "model/tokenizer/tokenizer.h"
#include "server/admission.h"
#include "server/cache_accounts.h"
#include "server/engine_batch.h"
#include "server/engine_config.h"
#include "server/engine_observer.h"
#include "server/engine_sample.h"
#include "server/open_request.h"
#include "server/page_table_check.h"
#include "server/scheduler.h"

namespace sieve {

// What happens in the engine's thread: plans, steps, samples, events. Everything here but
// CountCachedPages is that thread's own. Functions may throw what allocations and the model throw;
// Recover then brings the core back to a state in which it goes on.
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
  };

  // All are borrowed.
  EngineCore(const EngineConfig& config, LanguageModel* model, const Tokenizer* tokenizer,
             EngineObserver* observer, Owner* owner);

  // Where new requests are put; Step takes them from there.
  std::vector<std::unique_ptr<OpenRequest>>* incoming() { return &incoming_; }

  // One step: ends what is over, plans, runs, hands out. False when there was nothing to run.
  bool Step();

  // Ends requests; those that have not begun to run, or all.
  void EndUnstarted(const absl::Status& status);
  void EndAll(const absl::Status& status);

  // After an exception: ends all requests with `status`, takes back all pages.
  void Recover(const absl::Status& status);

  // When a deadline or a stalled reader asks for the next Step at the latest.
  absl::Time NextTimeout() const;

  // Pages of the cache that a prompt would find now. Thread-safe.
  int64_t CountCachedPages(absl::Span<const int32_t> prompt) const;

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
  void DropBrokenTables(StepPlan* plan);
  void RunStep(const StepPlan& plan, absl::Time now);
  int64_t Start(const StepPlan& plan, absl::Time now);
  absl::Status Compute(const StepPlan& plan);
  StepRecord CountTokens(const StepPlan& plan) const;
  void TakeResults(const StepPlan& plan, absl::Time now);
  absl::Status TakeResult(const Chunk& chunk, OpenRequest* open, absl::Span<const float> logits,
                          absl::Time now);
  absl::Status FirstTokens(int64_t group, OpenRequest* open, absl::Span<const float> logits,
                           absl::Time now);
  absl::Status NextToken(SequenceId id, OpenRequest* open, absl::Span<const float> logits,
                         absl::Time now);
  void FinishSample(SequenceId id, OpenRequest* open, EngineSample::Output output);
  void End(int64_t group, const absl::Status& status);
  void Close(int64_t group, std::unique_ptr<OpenRequest> open, const absl::Status& status);
  void TellEnded();
  void PublishStats();

  const EngineConfig config_;
  LanguageModel* const model_;
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
  Sampler sampler_;
  std::vector<float> logits_;
  EngineStats totals_;
};

SchedulerConfig SchedulerConfigOf(const EngineConfig& config);

// The status of an exception that is being handled: RESOURCE_EXHAUSTED when memory ran out, else
// INTERNAL.
absl::Status StatusOfException();

}  // namespace sieve

#endif  // SIEVE_SERVER_ENGINE_CORE_H_
