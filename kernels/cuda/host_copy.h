#ifndef SIEVE_KERNELS_CUDA_HOST_COPY_H_
#define SIEVE_KERNELS_CUDA_HOST_COPY_H_

#include <cuda_runtime_api.h>

#include <cstdint>

namespace sieve::cuda {

// Copies `bytes` (a multiple of 16; both pointers 16-byte aligned) between device memory and
// page-locked host memory, either way. A kernel: between two others it costs less time than the
// copy engine does, whatever that would save on many megabytes.
cudaError_t CopyHost(const void* from, void* to, int64_t bytes, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_HOST_COPY_H_
