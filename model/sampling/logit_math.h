#ifndef SIEVE_MODEL_SAMPLING_LOGIT_MATH_H_
#define SIEVE_MODEL_SAMPLING_LOGIT_MATH_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace sieve {

// Passes over one row of logits [vocabulary]. They are a visible part of a decoding step at
// vocabularies of 10^5, so each is one loop that the compiler vectorises.

// Whether no logit is NaN or infinite.
bool AllFinite(absl::Span<const float> logits);

// -infinity for an empty row. REQUIRES: no NaN.
float MaxLogit(absl::Span<const float> logits);

// The lowest index of the largest logit. REQUIRES: not empty, no NaN.
int32_t ArgMax(absl::Span<const float> logits);

// weights[i] = exp((logits[i] - max) * inverse_temperature), within 2e-7 relative, 0 below
// exp(-kWeightCut); returns the sum of UnitsOf(weights[i]) (kernels/sampling_math.h). REQUIRES: max
// is the largest logit and finite, no NaN.
uint64_t ExpWeights(absl::Span<const float> logits, float max, float inverse_temperature,
                    absl::Span<float> weights);

// The indices of the k largest values, best first, ties by index; all of them when k exceeds their
// number.
std::vector<int32_t> TopIndices(absl::Span<const float> values, int64_t k);

}  // namespace sieve

#endif  // SIEVE_MODEL_SAMPLING_LOGIT_MATH_H_
