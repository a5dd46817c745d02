#ifndef SIEVE_KERNELS_CUDA_SWIGLU_CUH_
#define SIEVE_KERNELS_CUDA_SWIGLU_CUH_

namespace sieve::cuda {

// silu(gate) * up, silu(g) = g / (1 + exp(-g)). Rounded step by step, so that no kernel's compiler
// fuses what another's does not.
__device__ __forceinline__ float SwiGluOf(float gate, float up) {
  return __fmul_rn(__fdiv_rn(gate, __fadd_rn(1.0f, expf(-gate))), up);
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_SWIGLU_CUH_
