#ifndef SIEVE_SERVER_ENGINE_H_
#define SIEVE_SERVER_ENGINE_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/language_model.h"
#include "model/tokenizer/tokenizer.h"
#include "server/event_queue.h"
#include "server/generation.h"

namespace sieve {

struct EngineConfig {
  int64_t max_step_tokens = 512;       // token budget of a step (chunked prefill)
  int64_t max_running_sequences = 64;  // samples that decode together
  int64_t max_queued_requests = 1024;
  int64_t max_queued_prompt_tokens = 0;  // 0: no limit but the number of requests
  int64_t max_request_cache_bytes = 0;   // 0: the whole cache
  int64_t page_bytes = 0;                // of the cache, for the accounts
  int64_t context_length = 0;            // tokens
  absl::Duration stalled_reader_timeout = absl::Seconds(30);
  bool prefix_reuse = true;
  // Refuses a request whose first token, by the measured rates, would come after its deadline.
  bool refuse_late = false;
  std::function<absl::Time()> clock = absl::Now;  // replaced by tests only
};

// A picture of the engine at one moment, and its totals since the start.
struct EngineStats {
  int64_t running_sequences = 0;
  int64_t waiting_requests = 0;
  // Of the waiting ones, those of priority < 0, 0 and > 0.
  std::array<int64_t, 3> waiting_by_priority{};
  int64_t waiting_prompt_tokens = 0;
  int64_t total_pages = 0, free_pages = 0, cached_pages = 0, active_pages = 0;
  // Pages that live requests hold, each request's share counted; equals active_pages.
  double attributed_pages = 0;
  int64_t steps = 0, preemptions = 0;
  int64_t prompt_tokens_computed = 0, prompt_tokens_cached = 0, generated_tokens = 0;
  // Requests whose prompt was looked up in the cache, and those that found a part of it there.
  int64_t prefix_queries = 0, prefix_hits = 0;
  // Prompt tokens a second while prompts are computed, of late; 0 before the first.
  double prefill_rate = 0;
};

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

// What a request would cost; bytes as in sieve.v1.EstimateCostResponse.
struct CostEstimate {
  int64_t cached_prompt_tokens = 0;
  int64_t prompt_cache_bytes = 0, peak_cache_bytes = 0;
  std::optional<absl::Duration> time_to_first_token;
  absl::Status refusal;  // what Submit would answer now
};

// Runs the model: one thread that plans, steps, samples and hands out events.
class Engine {
 public:
  // `model`, `tokenizer` and `observer` (may be null) are borrowed and must outlive the engine.
  static std::unique_ptr<Engine> Create(const EngineConfig& config, LanguageModel* model,
                                        const Tokenizer* tokenizer, EngineObserver* observer);
  virtual ~Engine() = default;  // stops; every open request ends with UNAVAILABLE

  // Queues a request. Its events go to `queue` (shared with the reader), ending with one EndEvent.
  // On an error nothing was queued and no event follows: RESOURCE_EXHAUSTED when the queue is full
  // (for this tenant), the request could never fit the cache, or (refuse_late) its deadline cannot
  // be met; UNAVAILABLE after Drain or Stop; INVALID_ARGUMENT for what contradicts
  // GenerationRequest. Refusals carry their reason and, where trying again helps, when (refusal.h).
  // Thread-safe.
  virtual absl::Status Submit(GenerationRequest request, std::shared_ptr<EventQueue> queue) = 0;

  // Whether a request of this tenant would be refused whatever it asks for: cheap, for asking
  // before a prompt is tokenized. Thread-safe.
  virtual absl::Status CheckAdmission(const std::string& tenant, double weight) const = 0;

  // Thread-safe; waits for the running step. UNAVAILABLE after Stop.
  virtual absl::StatusOr<CostEstimate> EstimateCost(const GenerationRequest& request) = 0;

  // The reader of a queue made room or cancelled: wakes the thread. Thread-safe.
  virtual void Notify() = 0;

  // Refuses new requests and ends those that have not started with UNAVAILABLE; the others go on.
  // Thread-safe, idempotent.
  virtual void Drain() = 0;

  // Refuses new requests; ends open ones with UNAVAILABLE. Thread-safe, idempotent.
  virtual void Stop() = 0;

  virtual EngineStats stats() const = 0;  // thread-safe
};

}  // namespace sieve

#endif  // SIEVE_SERVER_ENGINE_H_
