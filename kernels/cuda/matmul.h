#ifndef SIEVE_KERNELS_CUDA_MATMUL_H_
#define SIEVE_KERNELS_CUDA_MATMUL_H_

#include <cuda_runtime_api.h>

#include "kernels/cuda/matmul_params.h"
#include "kernels/cuda/rope_params.h"

namespace sieve::cuda {

// A row of y has the same bits whatever the number of tokens. Weights and bias may be read while
// the kernel before in the stream still runs: it must not be the one that writes them.
cudaError_t MatMul(const MatMulParams& params, cudaStream_t stream);

// The same of inner.
cudaError_t GatedMatMul(const GatedMatMulParams& params, cudaStream_t stream);

// Floats that GatedMatMul needs at params.gate_up: none where one kernel does all.
int64_t GatedMatMulScratchFloats(const GatedMatMulParams& params);

// A MatMul, then RopeAndStore of its y, which is rope.qkv. Where one kernel does both, y is left as
// it was.
cudaError_t ProjectHeads(const MatMulParams& params, const RopeAndStoreParams& rope,
                         cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_MATMUL_H_
