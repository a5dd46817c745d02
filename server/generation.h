#ifndef SIEVE_SERVER_GENERATION_H_
#define SIEVE_SERVER_GENERATION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/sampling/logprobs.h"
#include "model/sampling/sampling_params.h"

namespace sieve {

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
  std::optional<int32_t> logprobs;  // alternatives a token
  int32_t priority = 0;             // higher first
  absl::Time arrival = absl::InfinitePast();
  absl::Time deadline = absl::InfiniteFuture();
};

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
};

// The whole request is over: OK after every sample's FinishedEvent, else why it failed. Always
// last.
struct EndEvent {
  absl::Status status;
};

using GenerationEvent = std::variant<AcceptedEvent, DeltaEvent, FinishedEvent, EndEvent>;

}  // namespace sieve

#endif  // SIEVE_SERVER_GENERATION_H_
