#ifndef SIEVE_SERVER_ENGINE_CONFIG_H_
#define SIEVE_SERVER_ENGINE_CONFIG_H_

#include <array>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/attention/cache_reads.h"

namespace sieve {

class Scheduler;

// Where tests let something go wrong, in the order of a step.
enum class FaultPoint {
  kPlan,    // before the plan
  kTables,  // after it, before the page tables are checked
  kLogits,  // before room is made for the logits
  kSample,  // before a request's next tokens are drawn
};

struct EngineConfig {
  int64_t max_step_tokens = 512;       // token budget of a step (chunked prefill)
  int64_t max_running_sequences = 64;  // samples that decode together
  int64_t max_queued_requests = 1024;
  int64_t max_queued_prompt_tokens = 0;  // 0: no limit but the number of requests
  int64_t max_request_cache_bytes = 0;   // 0: the whole cache
  int64_t page_bytes = 0;                // of the cache, for the accounts
  CacheReadCounter counter{};            // of the bare model
  int64_t context_length = 0;            // tokens
  absl::Duration stalled_reader_timeout = absl::Seconds(30);
  bool prefix_reuse = true;
  // Refuses a request whose first token, by the measured rates, would come after its deadline.
  bool refuse_late = false;
  // Called once on the engine's thread, when no step can succeed any more: the device is lost, say.
  // All requests are ended then, and new ones refused.
  std::function<void(const absl::Status&)> on_broken;
  std::function<absl::Time()> clock = absl::Now;  // replaced by tests only
  // Runs on the engine's thread; may throw and break the scheduler's books.
  std::function<void(FaultPoint, Scheduler*)> fault_for_test;
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
  CacheReads reads{}, bare_reads{};  // of all requests, and of those without an adapter
  // Prompt tokens a second while prompts are computed, of late; 0 before the first.
  double prefill_rate = 0;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_ENGINE_CONFIG_H_
