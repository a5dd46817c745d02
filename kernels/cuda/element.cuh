#ifndef SIEVE_KERNELS_CUDA_ELEMENT_CUH_
#define SIEVE_KERNELS_CUDA_ELEMENT_CUH_

// Elements of tensors on the device: float, __half and __nv_bfloat16.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/dtype.h"

namespace sieve::cuda {

__device__ __forceinline__ float ToFloat(float x) { return x; }
__device__ __forceinline__ float ToFloat(__half x) { return __half2float(x); }
__device__ __forceinline__ float ToFloat(__nv_bfloat16 x) { return __bfloat162float(x); }

template <typename T>
__device__ __forceinline__ T FromFloat(float x);
template <>
__device__ __forceinline__ float FromFloat<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ __half FromFloat<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ __forceinline__ __nv_bfloat16 FromFloat<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

// For what is kept of blocks: what is beyond the type's largest becomes that, as on the CPU, for an
// infinity would make the block's scores and the output NaN. NaN stays.
template <typename T>
__device__ __forceinline__ T SaturatedFrom(float x) {
  constexpr float kMost = std::is_same_v<T, __half>          ? 65504.0f
                          : std::is_same_v<T, __nv_bfloat16> ? 0x1.fep127f
                                                             : std::numeric_limits<float>::max();
  return FromFloat<T>(x > kMost ? kMost : x < -kMost ? -kMost : x);
}

// Two neighbours as the 32 bits that a tensor-core fragment holds.
template <typename T>
__device__ __forceinline__ uint32_t Pack(float low, float high);
template <>
__device__ __forceinline__ uint32_t Pack<__half>(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}
template <>
__device__ __forceinline__ uint32_t Pack<__nv_bfloat16>(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}

// Calls f(T{}) for the element type; cudaErrorInvalidValue for types that are not one of the three.
template <typename F>
cudaError_t WithElement(DType dtype, F f) {
  switch (dtype) {
    case DType::kF32:
      return f(float{});
    case DType::kF16:
      return f(__half{});
    case DType::kBF16:
      return f(__nv_bfloat16{});
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_ELEMENT_CUH_
