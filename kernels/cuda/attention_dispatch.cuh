#ifndef SIEVE_KERNELS_CUDA_ATTENTION_DISPATCH_CUH_
#define SIEVE_KERNELS_CUDA_ATTENTION_DISPATCH_CUH_

// From a cache's type and head dimension to the kernel that was compiled for them.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cmath>
#include <type_traits>

#include "kernels/cuda/attention_params.h"

namespace sieve::cuda {

template <typename F>
cudaError_t WithHeadDim(int64_t head_dim, F f) {
  switch (head_dim) {
    case 64:
      return f(std::integral_constant<int, 64>());
    case 80:
      return f(std::integral_constant<int, 80>());
    case 96:
      return f(std::integral_constant<int, 96>());
    case 128:
      return f(std::integral_constant<int, 128>());
    case 256:
      return f(std::integral_constant<int, 256>());
    default:
      return cudaErrorInvalidValue;
  }
}

// Calls f with the element type and the head dimension of a 16-bit cache.
template <typename F>
cudaError_t Dispatch(const PagedAttentionParams& p, F f) {
  return WithHeadDim(p.kv.head_dim, [&](auto head_dim) {
    if (p.kv.dtype == DType::kBF16) return f(__nv_bfloat16{}, head_dim);
    if (p.kv.dtype == DType::kF16) return f(__half{}, head_dim);
    return cudaErrorInvalidValue;
  });
}

// Of scores in units of log2.
inline float ScaleLog2(const PagedAttentionParams& p) {
  return p.scale * static_cast<float>(M_LOG2E);
}

template <typename Kernel>
cudaError_t AllowShared(Kernel kernel, int bytes) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_ATTENTION_DISPATCH_CUH_
