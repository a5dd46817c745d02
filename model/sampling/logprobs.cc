#include "model/sampling/logprobs.h"

#include "kernels/sampling_math.h"
#include "model/sampling/logit_math.h"

namespace sieve {

PositionLogprobs LogprobsOf(absl::Span<const float> logits, int32_t chosen, int32_t alternatives) {
  const float max = MaxLogit(logits);
  std::vector<float> weights(logits.size());
  const uint64_t units = ExpWeights(logits, max, 1, absl::MakeSpan(weights));
  const double log_sum = max + LogOfUnits(units);
  const auto logprob = [&](int32_t token) {
    return TokenLogprob{token, static_cast<float>(logits[token] - log_sum)};
  };
  PositionLogprobs result;
  result.chosen = logprob(chosen);
  for (const int32_t token : TopIndices(logits, alternatives)) result.top.push_back(logprob(token));
  return result;
}

}  // namespace sieve
