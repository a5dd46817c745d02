#ifndef SIEVE_KERNELS_ELEMENTWISE_AVX2_H_
#define SIEVE_KERNELS_ELEMENTWISE_AVX2_H_

#include <cstdint>

namespace sieve {

// As in elementwise.h. REQUIRES: HasAvx2(), n is a multiple of 8.
void RmsNormAvx2(const float* x, const float* weight, double epsilon, int64_t n, float* out);
void SwiGluAvx2(const float* gate, const float* up, int64_t n, float* out);

}  // namespace sieve

#endif  // SIEVE_KERNELS_ELEMENTWISE_AVX2_H_
