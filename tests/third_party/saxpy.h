#ifndef SIEVE_TESTS_THIRD_PARTY_SAXPY_H_
#define SIEVE_TESTS_THIRD_PARTY_SAXPY_H_

#include "cuda_runtime_api.h"

namespace sieve {

// y[i] += a * x[i] for i < n, in device memory. As small as a kernel can be: it shows that the
// build works.
cudaError_t Saxpy(int n, float a, const float* x, float* y, cudaStream_t stream);

}  // namespace sieve

#endif  // SIEVE_TESTS_THIRD_PARTY_SAXPY_H_
