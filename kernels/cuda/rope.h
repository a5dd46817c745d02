#ifndef SIEVE_KERNELS_CUDA_ROPE_H_
#define SIEVE_KERNELS_CUDA_ROPE_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/rope_params.h"

namespace sieve::cuda {

// Device pointers throughout.

// Angles are rounded to float before their cosine is taken, as in the reference implementation.
struct RopeAnglesParams {
  const int32_t* positions = nullptr;  // [num_tokens]
  const float* frequencies = nullptr;  // [half]
  float* cosines = nullptr;            // [num_tokens, half]
  float* sines = nullptr;              // [num_tokens, half]
  int64_t num_tokens = 0;
  int64_t half = 0;  // head_dim / 2
};
cudaError_t RopeAngles(const RopeAnglesParams& params, cudaStream_t stream);

// As RopeAndStoreParams says.
cudaError_t RopeAndStore(const RopeAndStoreParams& params, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_ROPE_H_
