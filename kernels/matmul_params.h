#ifndef SIEVE_KERNELS_MATMUL_PARAMS_H_
#define SIEVE_KERNELS_MATMUL_PARAMS_H_

#include <cstdint>

#include "kernels/tensor_view.h"

namespace sieve {

// y[t, n] (+)= sum_k weights[n, k] * x[t, k] + bias[n], for n in [row_begin, row_end).
struct MatMulParams {
  TensorView weights;           // [N, K], any DType
  const float* bias = nullptr;  // [N], or none
  const float* x = nullptr;     // [tokens, K]
  int64_t x_stride = 0;         // floats
  int64_t tokens = 0;
  float* y = nullptr;    // [tokens, N]
  int64_t y_stride = 0;  // floats
  bool accumulate = false;
  int64_t row_begin = 0;
  int64_t row_end = 0;
};

}  // namespace sieve

#endif  // SIEVE_KERNELS_MATMUL_PARAMS_H_
