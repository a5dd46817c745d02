#ifndef SIEVE_KERNELS_CUDA_PAGED_ATTENTION_H_
#define SIEVE_KERNELS_CUDA_PAGED_ATTENTION_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/attention_params.h"

namespace sieve::cuda {

// The most tokens that a tile of PrefillAttention has.
int64_t PrefillTileTokens(int64_t group);

// For tiles of several tokens.
cudaError_t PrefillAttention(const PagedAttentionParams& params, cudaStream_t stream);

// For tiles of one token, split over the context; max_splits covers the longest (ceil((position +
// 1) / kSplitTokens)). `partials` holds DecodePartialFloats(...) floats.
int64_t DecodePartialFloats(int64_t num_tiles, int64_t num_heads, int64_t head_dim,
                            int64_t max_splits);
cudaError_t DecodeAttention(const PagedAttentionParams& params, int64_t max_splits, float* partials,
                            cudaStream_t stream);

// cudaErrorInvalidValue from both unless head_dim is 64, 80, 96, 128 or 256 and a group has at most
// 16 heads.
bool AttentionSupports(int64_t head_dim, int64_t group);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_PAGED_ATTENTION_H_
