#ifndef SIEVE_SERVER_GENERATION_H_
#define SIEVE_SERVER_GENERATION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/attention/cache_reads.h"
#include "model/sampling/logprobs.h"
#include "model/sampling/sampling_params.h"
#include "server/adapters/served_adapter.h"

namespace sieve {

// What one step of a request's priority is worth: it ranks as if it had come so much earlier. Not
// absolute, so that whoever waits long enough comes first.
inline constexpr absl::Duration kPriorityStep = absl::Seconds(10);

// Where statistics count a priority: below 0, 0, above.
inline int PriorityClass(int32_t priority) { return priority < 0 ? 0 : priority == 0 ? 1 : 2; }

// A request as the engine takes it: validated, tokenized, defaults filled in.
struct GenerationRequest {
  std::string id;
  std::vector<int32_t> prompt;  // at least one token
  SamplingParams sampling;
  int32_t num_samples = 1;
  int32_t max_tokens = 0;  // prompt + max_tokens <= context length
  // max_tokens was cut to (or defaulted to) what the context leaves.
  bool max_tokens_is_context = false;
  int32_t min_tokens = 0;
  std::vector<std::string> stop_texts;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  std::optional<int32_t> logprobs;               // alternatives a token
  int32_t priority = 0;                          // each step counts as kPriorityStep of waiting
  std::string tenant;                            // who shares the server by weight
  double tenant_weight = 1;                      // > 0
  std::shared_ptr<const ServedAdapter> adapter;  // null: the bare base model
  std::string traceparent;                       // W3C Trace Context, well-formed, or empty
  absl::Time arrival = absl::InfinitePast();
  absl::Time deadline = absl::InfiniteFuture();
};

// Whether a call that arrived at `arrival` and whose client gave it up at `now` had used up the
// time until its `deadline`. A client cancels by itself when its deadline passes, and does so a
// little before ours does: gRPC sends the time allowed rounded up, by less than 1 %, and here it
// begins to run when the call has arrived.
inline bool GivenUpAtDeadline(absl::Time arrival, absl::Time deadline, absl::Time now) {
  const absl::Duration early = absl::Milliseconds(10) + (deadline - arrival) / 100;
  return now >= deadline - early;
}

struct AcceptedEvent {
  int32_t prompt_tokens = 0;
  int32_t cached_prompt_tokens = 0;
};

struct DeltaEvent {
  int32_t sample = 0;
  std::string text;  // complete UTF-8 characters
  std::vector<int32_t> token_ids;
  std::vector<PositionLogprobs> logprobs;  // one a token when asked, else empty
};

enum class FinishReason { kEndOfSequence, kStopText, kStopToken, kMaxTokens, kMaxContext };

struct FinishedEvent {
  int32_t sample = 0;
  FinishReason reason = FinishReason::kEndOfSequence;
  std::string stop_text;
  int32_t prompt_tokens = 0;
  int32_t cached_prompt_tokens = 0;
  int32_t generated_tokens = 0;
  int32_t preemptions = 0;
  absl::Duration queue, prefill, time_to_first_token, decode;
  // Of the whole request until now:
  int64_t peak_cache_bytes = 0;
  double page_seconds = 0;
  CacheReads reads{};
};

// The whole request is over: OK after every sample's FinishedEvent, else why it failed. Always
// last.
struct EndEvent {
  absl::Status status;
};

using GenerationEvent = std::variant<AcceptedEvent, DeltaEvent, FinishedEvent, EndEvent>;

}  // namespace sieve

#endif  // SIEVE_SERVER_GENERATION_H_
