#ifndef SIEVE_KERNELS_CUDA_PREFILL_ATTENTION_H_
#define SIEVE_KERNELS_CUDA_PREFILL_ATTENTION_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/attention_params.h"

namespace sieve::cuda {

// The most tokens that a tile of PrefillAttention has.
int64_t PrefillTileTokens(int64_t group);

// For tiles of several tokens.
cudaError_t PrefillAttention(const PagedAttentionParams& params, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_PREFILL_ATTENTION_H_
