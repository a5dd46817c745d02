#ifndef SIEVE_KERNELS_CUDA_ROW_MATH_CUH_
#define SIEVE_KERNELS_CUDA_ROW_MATH_CUH_

// Formulas that several kernels share. Products and sums are spelled out, so that no compiler joins
// them in one kernel and not in another: the bits must agree.

#include <cstdint>

namespace sieve::cuda {

// RMSNorm's sum of squares is that of 256 partial sums: number i adds the float4s i, i + 256, ...
// of the row; 32 neighbours are then added by halves, and the 8 results in order.
inline constexpr int kNormThreads = 256;

__device__ __forceinline__ float AddSquares(float sum, const float4& v) {
  return __fmaf_rn(v.w, v.w, __fmaf_rn(v.z, v.z, __fmaf_rn(v.y, v.y, __fmaf_rn(v.x, v.x, sum))));
}

// The sum over a warp's lanes, the same for each.
__device__ __forceinline__ float WarpSum(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(~0u, x, offset);
  return x;
}

// From the sums of the 8 warps.
__device__ __forceinline__ float NormScale(const float* warp_sums, int64_t hidden, float epsilon) {
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kNormThreads / 32; ++i) squares += warp_sums[i];
  return rsqrtf(__fadd_rn(__fdiv_rn(squares, static_cast<float>(hidden)), epsilon));
}

__device__ __forceinline__ float4 Normalize(const float4& v, float scale, const float4& weight) {
  return make_float4(
      __fmul_rn(__fmul_rn(v.x, scale), weight.x), __fmul_rn(__fmul_rn(v.y, scale), weight.y),
      __fmul_rn(__fmul_rn(v.z, scale), weight.z), __fmul_rn(__fmul_rn(v.w, scale), weight.w));
}

// Rotates the pair (a, b).
__device__ __forceinline__ float2 Rotate(float a, float b, float cosine, float sine) {
  return make_float2(__fmaf_rn(a, cosine, -__fmul_rn(b, sine)),
                     __fmaf_rn(a, sine, __fmul_rn(b, cosine)));
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_ROW_MATH_CUH_
