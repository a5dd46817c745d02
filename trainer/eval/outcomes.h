#ifndef SIEVE_TRAINER_EVAL_OUTCOMES_H_
#define SIEVE_TRAINER_EVAL_OUTCOMES_H_

#include <cstdint>
#include <nlohmann/json.hpp>

#include "absl/types/span.h"

namespace sieve {

// Whether each trial succeeded (1 or 0): {"trials", "successes", "rate", "interval"} (Wilson).
nlohmann::ordered_json OutcomesJson(absl::Span<const double> outcomes);

// The same trials under sparse attention: OutcomesJson of them, then "difference" of the rates
// (sparse - dense) with a paired bootstrap interval, the trials in which only one succeeded with
// McNemar's exact p, and "of_dense": which share of what dense attention solved is solved.
// REQUIRES: equal sizes.
nlohmann::ordered_json PairedOutcomesJson(absl::Span<const double> dense,
                                          absl::Span<const double> sparse, uint64_t seed);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_OUTCOMES_H_
