#ifndef SIEVE_SERVER_ENGINE_H_
#define SIEVE_SERVER_ENGINE_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
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
  int64_t context_length = 0;  // tokens
  absl::Duration stalled_reader_timeout = absl::Seconds(30);
  bool prefix_reuse = true;
  std::function<absl::Time()> clock = absl::Now;  // replaced by tests only
};

// A picture of the engine at one moment, and its totals since the start.
struct EngineStats {
  int64_t running_sequences = 0;
  int64_t waiting_requests = 0;
  int64_t total_pages = 0, free_pages = 0, cached_pages = 0, active_pages = 0;
  int64_t steps = 0, preemptions = 0;
  int64_t prompt_tokens_computed = 0, prompt_tokens_cached = 0, generated_tokens = 0;
};

// What the engine tells of each step and request; called on its thread, must be quick.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void OnStep(absl::Duration step, int64_t prefill_tokens, int64_t decode_tokens) {}
  virtual void OnFirstToken(absl::Duration time_to_first_token) {}
  virtual void OnInterToken(absl::Duration gap) {}
  virtual void OnEnd(const absl::Status& status, absl::Duration end_to_end) {}
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
  // or the request could never fit the cache, UNAVAILABLE after Stop, INVALID_ARGUMENT for what
  // contradicts GenerationRequest. Thread-safe.
  virtual absl::Status Submit(GenerationRequest request, std::shared_ptr<EventQueue> queue) = 0;

  // The reader of a queue made room or cancelled: wakes the thread. Thread-safe.
  virtual void Notify() = 0;

  // Refuses new requests; ends open ones with UNAVAILABLE. Thread-safe, idempotent.
  virtual void Stop() = 0;

  virtual EngineStats stats() const = 0;  // thread-safe
};

}  // namespace sieve

#endif  // SIEVE_SERVER_ENGINE_H_
