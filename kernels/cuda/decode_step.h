#ifndef SIEVE_KERNELS_CUDA_DECODE_STEP_H_
#define SIEVE_KERNELS_CUDA_DECODE_STEP_H_

#include <cuda_runtime_api.h>

#include "kernels/cuda/decode_step_params.h"

namespace sieve::cuda {

// Whether DecodeStep can do it: on sm_90, heads of 64, hidden sizes of at most 2048, contexts of at
// most 131,072 tokens, and sizes that are multiples of what its tiles are made of.
bool DecodeStepSupports(const DecodeStepParams& params);

// The whole step in one kernel: the weights, keys and values are one stream that never waits for
// the arithmetic, which follows it phase by phase, with a barrier of all blocks between two. Gives
// the same bits as the kernels for each part.
cudaError_t DecodeStep(const DecodeStepParams& params, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_DECODE_STEP_H_
