#ifndef SIEVE_KERNELS_CUDA_HOPPER_MATMUL_H_
#define SIEVE_KERNELS_CUDA_HOPPER_MATMUL_H_

#include <cuda_runtime_api.h>

#include "kernels/cuda/matmul_params.h"

namespace sieve::cuda {

// Whether the device has Hopper's tensor cores, for which the kernels below are.
bool HasHopper();

// Products of 16-bit matrices on Hopper; the bits are MatMul's. REQUIRES: HasHopper().
cudaError_t HopperMatMul(const MatMulParams& params, cudaStream_t stream);

// REQUIRES: HasHopper(), inputs at most kChainLength.
cudaError_t HopperGatedMatMul(const GatedMatMulParams& params, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_HOPPER_MATMUL_H_
