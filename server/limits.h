#ifndef SIEVE_SERVER_LIMITS_H_
#define SIEVE_SERVER_LIMITS_H_

#include <cstdint>

#include "absl/time/time.h"

namespace sieve {

// What a request may ask for and how much the server takes on; the fields are those of
// sieve.v1.Limits. 0 in max_prompt_tokens, max_queued_prompt_tokens and max_request_cache_bytes of
// a configuration: whatever context and cache allow.
struct Limits {
  int32_t max_context_tokens = 0;  // prompt and output together; set from the model
  int32_t default_max_tokens = 512;
  int32_t max_samples = 16;
  int32_t max_stop_texts = 16;
  int32_t max_stop_text_bytes = 256;
  int32_t max_stop_token_ids = 64;
  int32_t max_logit_bias_entries = 1024;
  int32_t max_logprobs = 20;
  int32_t max_request_bytes = 4 << 20;
  int32_t max_queued_requests = 1024;
  int32_t max_prompt_tokens = 0;
  int64_t max_queued_prompt_tokens = 0;
  int32_t max_running_sequences = 64;
  int64_t max_request_cache_bytes = 0;
  int32_t max_streams_per_connection = 1024;
  absl::Duration stalled_reader_timeout = absl::Seconds(30);
};

}  // namespace sieve

#endif  // SIEVE_SERVER_LIMITS_H_
