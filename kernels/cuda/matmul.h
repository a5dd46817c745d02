#ifndef SIEVE_KERNELS_CUDA_MATMUL_H_
#define SIEVE_KERNELS_CUDA_MATMUL_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/dtype.h"

namespace sieve::cuda {

// y[t, n] (+)= sum_k weights[n, k] x[t, k] + bias[n], in float. Device pointers. A row of y has the
// same bits whatever the number of tokens: every sum is one chain over k (mma.cuh).
struct MatMulParams {
  const void* weights = nullptr;  // [outputs, inputs], of `dtype`
  const void* x = nullptr;        // [num_tokens, inputs], of `dtype`
  const float* bias = nullptr;    // [outputs], or none
  float* y = nullptr;             // [num_tokens, outputs], rows y_stride apart
  int64_t y_stride = 0;           // floats
  DType dtype = DType::kBF16;     // kF32, kF16 or kBF16
  int64_t num_tokens = 0;
  int64_t outputs = 0;
  int64_t inputs = 0;  // a multiple of 8; rows 16-byte aligned
  bool accumulate = false;
};
cudaError_t MatMul(const MatMulParams& params, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_MATMUL_H_
