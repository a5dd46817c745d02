#ifndef SIEVE_KERNELS_CUDA_MATMUL_PARAMS_H_
#define SIEVE_KERNELS_CUDA_MATMUL_PARAMS_H_

#include <cstdint>

#include "kernels/dtype.h"

namespace sieve::cuda {

// y[t, n] (+)= sum_k weights[n, k] x[t, k] + bias[n], in float. Device pointers, 16-byte aligned.
struct MatMulParams {
  const void* weights =
      nullptr;                  // [outputs, inputs], of `dtype`; 16 bits: in weight_tiles.h's order
  const void* x = nullptr;      // [num_tokens, inputs], of `dtype`
  const float* bias = nullptr;  // [outputs], or none
  float* y = nullptr;           // [num_tokens, outputs]
  DType dtype = DType::kBF16;   // kF32, kF16 or kBF16
  int64_t num_tokens = 0;
  int64_t outputs = 0;
  int64_t inputs = 0;  // a multiple of 8; rows 16-byte aligned
  bool accumulate = false;
};

// inner[t, i] = silu(gate[t, i]) * up[t, i] of the product [gate, up] = weights x + bias, whose
// rows alternate as weight_tiles.h says. The same bits as a MatMul and a SwiGlu of its result.
struct GatedMatMulParams {
  const void* weights = nullptr;  // [2 intermediate, inputs], as MatMulParams'
  const void* x = nullptr;        // [num_tokens, inputs], of `dtype`
  const float* bias = nullptr;    // [2 intermediate], or none
  void* inner = nullptr;          // [num_tokens, intermediate], of `dtype`
  float* gate_up = nullptr;       // GatedMatMulScratchFloats of them
  DType dtype = DType::kBF16;
  int64_t num_tokens = 0;
  int64_t intermediate = 0;  // a multiple of 8
  int64_t inputs = 0;        // a multiple of 8; rows 16-byte aligned
};

// A sum of 16-bit products over k is one chain (mma.cuh) for each 4096 of k. They are added one by
// one to y (or 0), and then the bias. A chain takes as long as its links one after the other, so
// that shorter ones would be faster for one token, but these are what libraries can compute too.
inline constexpr int64_t kChainLength = 4096;

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_MATMUL_PARAMS_H_
