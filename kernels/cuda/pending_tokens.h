#ifndef SIEVE_KERNELS_CUDA_PENDING_TOKENS_H_
#define SIEVE_KERNELS_CUDA_PENDING_TOKENS_H_

#include <cuda_runtime_api.h>

#include <cstdint>

namespace sieve::cuda {

// Replaces each negative tokens[t] by drawn[-1 - tokens[t]]: a step's input that the step before
// drew. Device pointers.
struct PendingTokensParams {
  int32_t* tokens = nullptr;       // [num_tokens]
  const int32_t* drawn = nullptr;  // as many as the tokens name
  int64_t num_tokens = 0;
};
cudaError_t FillPendingTokens(const PendingTokensParams& params, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_PENDING_TOKENS_H_
