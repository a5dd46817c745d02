#ifndef SIEVE_SERVER_ENGINE_OBSERVER_H_
#define SIEVE_SERVER_ENGINE_OBSERVER_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/attention/cache_reads.h"
#include "server/generation.h"

namespace sieve {

// How far a request came.
enum class RequestPhase { kQueue, kPrefill, kDecode };

// One request that ended, for accounts and logs. The views are valid during the call only.
struct RequestRecord {
  const GenerationRequest& request;  // but for its prompt
  const absl::Status& status;
  RequestPhase phase = RequestPhase::kQueue;  // when it ended
  int32_t prompt_tokens = 0, cached_prompt_tokens = 0;
  int64_t generated_tokens = 0;  // all samples
  int32_t preemptions = 0;       // all samples
  absl::Duration end_to_end{};   // from arrival
  // Until the end of the phase, or of the request in that phase; zero for those never reached.
  absl::Duration queue{}, prefill{}, decode{};
  std::optional<absl::Duration> time_to_first_token{};
  int64_t peak_cache_bytes = 0;
  double page_seconds = 0;
  CacheReads reads{};  // all samples
};

// One engine step.
struct StepRecord {
  absl::Duration plan{}, forward{}, sample{};  // which follow each other
  int64_t sequences = 0, prefill_tokens = 0, decode_tokens = 0;
};

// What the engine tells of each step and request; called on its thread, must be quick.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void OnStep(const StepRecord& step) {}
  virtual void OnFirstToken(absl::Duration time_to_first_token) {}
  virtual void OnInterToken(absl::Duration gap) {}
  virtual void OnEnd(const RequestRecord& record) {}
};

}  // namespace sieve

#endif  // SIEVE_SERVER_ENGINE_OBSERVER_H_
