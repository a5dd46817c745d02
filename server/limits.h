#ifndef SIEVE_SERVER_LIMITS_H_
#define SIEVE_SERVER_LIMITS_H_

#include <cstdint>

namespace sieve {

// What a request may ask for; the fields are those of sieve.v1.Limits.
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
};

}  // namespace sieve

#endif  // SIEVE_SERVER_LIMITS_H_
