#ifndef SIEVE_TRAINER_EVAL_PERPLEXITY_H_
#define SIEVE_TRAINER_EVAL_PERPLEXITY_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "trainer/eval/variant.h"
#include "trainer/eval/window_scorer.h"

namespace sieve {

struct PerplexityOptions {
  int64_t window = 4096;    // tokens that a prediction may see; see ScoredWindows
  int64_t stride = 4096;    // from 1 to window
  int64_t max_windows = 0;  // of each text, the first ones; 0: all
  int64_t bucket = 0;       // tokens of a range of positions that is counted apart; 0: none
  uint64_t seed = 1;        // of the intervals
  std::ostream* progress = nullptr;
};

struct TokenisedText {
  std::string name;
  absl::Span<const int32_t> tokens;
};

// Sparse against dense attention on texts: {"window", "stride", "texts": [...]}. Each text has its
// counts and a row for each variant: perplexities, their ratio, KL(dense || sparse) in nats and
// top-1 agreement, each of them with its interval (paired bootstrap over windows, null for less
// than two), density, the means of each window, and with `bucket` the same by position in it.
// Several texts are followed by "all" of them together. `variants` are the scorer's.
// INVALID_ARGUMENT for a window or stride that cannot be, or a text of less than two tokens; the
// scorer's errors.
absl::StatusOr<nlohmann::ordered_json> EvaluatePerplexity(WindowScorer* scorer,
                                                          absl::Span<const Variant> variants,
                                                          absl::Span<const TokenisedText> texts,
                                                          const PerplexityOptions& options);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_PERPLEXITY_H_
