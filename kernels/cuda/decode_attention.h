#ifndef SIEVE_KERNELS_CUDA_DECODE_ATTENTION_H_
#define SIEVE_KERNELS_CUDA_DECODE_ATTENTION_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/attention_params.h"

namespace sieve::cuda {

// For tiles of one token, split over the context; max_splits covers the longest (ceil((position +
// 1) / kSplitTokens)). `partials` holds DecodePartialFloats(...) floats.
int64_t DecodePartialFloats(int64_t num_tiles, int64_t num_heads, int64_t head_dim,
                            int64_t max_splits);
cudaError_t DecodeAttention(const PagedAttentionParams& params, int64_t max_splits, float* partials,
                            cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_DECODE_ATTENTION_H_
