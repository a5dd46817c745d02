#ifndef SIEVE_KERNELS_MERGE_H_
#define SIEVE_KERNELS_MERGE_H_

#include <cstdint>

namespace sieve {

// Replaces log weights by their softmax, in double; -infinity is a weight of zero. REQUIRES: not
// all are -infinity.
void Softmax(double* log_weights, int64_t count);

double Sigmoid(double x);

// out[i] = sum_p weights[p] * parts[p][i], i in [0, n); parts of weight zero are not read. out may
// be a part.
void WeightedSum(const float* const* parts, const double* weights, int64_t count, int64_t n,
                 float* out);

}  // namespace sieve

#endif  // SIEVE_KERNELS_MERGE_H_
