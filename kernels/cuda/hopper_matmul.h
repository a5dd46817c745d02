#ifndef SIEVE_KERNELS_CUDA_HOPPER_MATMUL_H_
#define SIEVE_KERNELS_CUDA_HOPPER_MATMUL_H_

#include <cuda_runtime_api.h>

#include "kernels/cuda/matmul_params.h"
#include "kernels/cuda/rope_params.h"

namespace sieve::cuda {

// Products of 16-bit matrices; the bits are MatMul's. REQUIRES: ThisChip().is_hopper().
cudaError_t HopperMatMul(const MatMulParams& params, cudaStream_t stream);

// REQUIRES: ThisChip().is_hopper(), inputs at most kChainLength.
cudaError_t HopperGatedMatMul(const GatedMatMulParams& params, cudaStream_t stream);

// A product and what RopeAndStore makes of it, without params.y and rope.qkv. REQUIRES:
// ThisChip().is_hopper() and HopperHeadsSupport.
bool HopperHeadsSupport(const MatMulParams& params, const RopeAndStoreParams& rope);
cudaError_t HopperHeads(const MatMulParams& params, const RopeAndStoreParams& rope,
                        cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_HOPPER_MATMUL_H_
