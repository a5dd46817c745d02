#ifndef SIEVE_TRAINER_EVAL_TEXT_STATISTICS_H_
#define SIEVE_TRAINER_EVAL_TEXT_STATISTICS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace sieve {

// The share of a text's n-grams that are different ones (distinct-n of Li et al., 2016); 1 for a
// text of less than n tokens, in which nothing is said twice. REQUIRES: n >= 1.
double DistinctNgrams(absl::Span<const int32_t> tokens, int64_t n);

// The share of n-grams that came in the text before.
inline double RepeatedNgrams(absl::Span<const int32_t> tokens, int64_t n) {
  return 1 - DistinctNgrams(tokens, n);
}

// BLEU-4 of each text with all others as its references (self-BLEU of Zhu et al., 2018): how alike
// texts are. A precision of 0 counts as 0.1 matches (method 1 of Chen and Cherry, 2014), n-grams
// that a text is too short for are left out. 0 for an empty text, and for a single one.
std::vector<double> SelfBleu(absl::Span<const std::vector<int32_t>> texts);

// How many tokens two texts begin with in common.
int64_t CommonPrefix(absl::Span<const int32_t> a, absl::Span<const int32_t> b);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_TEXT_STATISTICS_H_
