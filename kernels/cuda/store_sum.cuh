#ifndef SIEVE_KERNELS_CUDA_STORE_SUM_CUH_
#define SIEVE_KERNELS_CUDA_STORE_SUM_CUH_

// How an element of a product begins and ends: y or 0, then the chains in order, then the bias.

#include "kernels/cuda/matmul_params.h"

namespace sieve::cuda {

__device__ __forceinline__ float BeginSum(const MatMulParams& p, int64_t token, int64_t row) {
  const bool inside = token < p.num_tokens && row < p.outputs;
  return p.accumulate && inside ? p.y[token * p.outputs + row] : 0.0f;
}

__device__ __forceinline__ void StoreSum(const MatMulParams& p, int64_t token, int64_t row,
                                         float sum) {
  if (token >= p.num_tokens || row >= p.outputs) return;
  p.y[token * p.outputs + row] = p.bias != nullptr ? sum + p.bias[row] : sum;
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_STORE_SUM_CUH_
