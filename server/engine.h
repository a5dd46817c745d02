#ifndef SIEVE_SERVER_ENGINE_H_
#define SIEVE_SERVER_ENGINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/language_model.h"
#include "model/tokenizer/tokenizer.h"
#include "server/engine_config.h"
#include "server/engine_observer.h"
#include "server/event_queue.h"
#include "server/generation.h"

namespace sieve {

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
  // (for this tenant) or the request could never fit the cache; DEADLINE_EXCEEDED when its deadline
  // is past or (refuse_late) cannot be met, for it is the caller's time that is short, and trying
  // again with the same would not help; UNAVAILABLE after Drain or Stop; INVALID_ARGUMENT for what
  // contradicts GenerationRequest. Refusals carry their reason and, where trying again helps, when
  // (refusal.h). Thread-safe.
  virtual absl::Status Submit(GenerationRequest request, std::shared_ptr<EventQueue> queue) = 0;

  // Whether a request of this tenant would be refused whatever it asks for: cheap, for asking
  // before a prompt is tokenized. Thread-safe.
  virtual absl::Status CheckAdmission(const std::string& tenant, double weight) const = 0;

  // Thread-safe, does not wait for the running step. UNAVAILABLE after Stop.
  virtual absl::StatusOr<CostEstimate> EstimateCost(const GenerationRequest& request) = 0;

  // Puts an adapter into a slot of the model's (LanguageModel::SetAdapter), or empties it, between
  // two steps, and then calls `done` on the engine's thread with what the model answers; with
  // UNAVAILABLE, maybe on the caller's, after Stop. Changes are made in the order of the calls.
  // Returns at once. Thread-safe.
  virtual void SetAdapter(int32_t slot, std::shared_ptr<const Adapter> adapter,
                          std::function<void(const absl::Status&)> done) = 0;

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
