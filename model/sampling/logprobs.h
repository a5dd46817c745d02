#ifndef SIEVE_MODEL_SAMPLING_LOGPROBS_H_
#define SIEVE_MODEL_SAMPLING_LOGPROBS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace sieve {

struct TokenLogprob {
  int32_t token_id = 0;
  float logprob = 0;
};

struct PositionLogprobs {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;  // best first
};

// Natural logarithms of the model's own distribution, softmax(logits): of the token that was drawn
// and of the `alternatives` most probable ones. REQUIRES: all logits finite, chosen in range.
PositionLogprobs LogprobsOf(absl::Span<const float> logits, int32_t chosen, int32_t alternatives);

}  // namespace sieve

#endif  // SIEVE_MODEL_SAMPLING_LOGPROBS_H_
