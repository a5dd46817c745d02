#ifndef SIEVE_KERNELS_CUDA_BLOCK_QUERIES_H_
#define SIEVE_KERNELS_CUDA_BLOCK_QUERIES_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/sparse_batch.h"

namespace sieve::cuda {

// out[row, h] = W_q^T q[h], with W_q of h's key/value head.
struct IndexQueriesParams {
  SparseBatch batch;
  const float* weights = nullptr;  // [num_kv_heads, d, rank]
  int64_t rank = 0;
  float* out = nullptr;  // [rows, num_heads, rank]
};
cudaError_t IndexQueries(const IndexQueriesParams& params, cudaStream_t stream);

// out[row, g] = RoPE(A [q°_1 ... q°_G], position).
struct GateQueriesParams {
  SparseBatch batch;
  const float* weights = nullptr;  // [num_kv_heads, G d, d]: the file's, transposed
  const float* cosines = nullptr;  // [tokens of the step, d / 2]
  const float* sines = nullptr;
  bool interleaved = false;
  float* out = nullptr;  // [rows, num_kv_heads, d]
};
cudaError_t GateQueries(const GateQueriesParams& params, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_BLOCK_QUERIES_H_
