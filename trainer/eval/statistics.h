#ifndef SIEVE_TRAINER_EVAL_STATISTICS_H_
#define SIEVE_TRAINER_EVAL_STATISTICS_H_

#include <cstdint>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"

namespace sieve {

// All intervals are of 95 %.
struct Interval {
  double low = 0;
  double high = 0;
};

// Of a proportion (Wilson, 1927): it stays within 0 and 1 and is sound for few trials. None without
// a trial. REQUIRES: 0 <= successes <= trials.
std::optional<Interval> WilsonInterval(int64_t successes, int64_t trials);

// Two-sided p of the exact test of McNemar: of pairs in which one of two succeeded, `only_first`
// were of the first and `only_second` of the second. 1 without such a pair.
double McNemarP(int64_t only_first, int64_t only_second);

// Percentile bootstrap, 2000 resamples: `statistic` is given the indices of as many units as there
// are, drawn with replacement. Pairs stay together, for a unit is whatever was measured in both
// ways. None for less than two units, of which resampling says nothing.
std::optional<Interval> BootstrapInterval(
    int64_t units, uint64_t seed,
    absl::FunctionRef<double(absl::Span<const int32_t> chosen)> statistic);

double Mean(absl::Span<const double> values);  // 0 for none

// Of the mean of b - a, paired. REQUIRES: equal sizes.
std::optional<Interval> DifferenceInterval(absl::Span<const double> a, absl::Span<const double> b,
                                           uint64_t seed);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_STATISTICS_H_
