#ifndef SIEVE_KERNELS_CUDA_PORTABLE_MATMUL_H_
#define SIEVE_KERNELS_CUDA_PORTABLE_MATMUL_H_

#include <cuda_runtime_api.h>

#include "kernels/cuda/matmul_params.h"

namespace sieve::cuda {

// MatMul on any device from sm_80 on, and in float: what the bits of the other kernels are held to.
cudaError_t PortableMatMul(const MatMulParams& params, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_PORTABLE_MATMUL_H_
