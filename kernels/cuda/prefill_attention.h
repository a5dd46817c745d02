#ifndef SIEVE_KERNELS_CUDA_PREFILL_ATTENTION_H_
#define SIEVE_KERNELS_CUDA_PREFILL_ATTENTION_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/attention_params.h"
#include "kernels/dtype.h"

namespace sieve::cuda {

// For tiles of several tokens: at most PrefillTileTokens each, on the current device. Whatever the
// device and the tiles, the bits are the same.
int64_t PrefillTileTokens(DType dtype, int64_t head_dim, int64_t group);
cudaError_t PrefillAttention(const PagedAttentionParams& params, cudaStream_t stream);

// The kernel of chips and shapes that have no faster one, anywhere: what tests compare the others
// with.
int64_t PortablePrefillTileTokens(int64_t group);
cudaError_t PortablePrefillAttention(const PagedAttentionParams& params, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_PREFILL_ATTENTION_H_
