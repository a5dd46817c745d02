#include "client/bench/clipped_workload.h"

#include <algorithm>

namespace sieve {

std::optional<Arrival> ClippedWorkload::Next() {
  std::optional<Arrival> arrival = workload_->Next();
  if (!arrival) return std::nullopt;
  const int32_t prompt = std::min(arrival->prompt_tokens, limits_.prompt_tokens);
  const int32_t generated =
      std::min({arrival->max_tokens, limits_.generated_tokens, limits_.context_tokens - prompt});
  clipped_ += prompt < arrival->prompt_tokens || generated < arrival->max_tokens;
  arrival->prompt_tokens = prompt;
  arrival->max_tokens = generated;
  return arrival;
}

}  // namespace sieve
