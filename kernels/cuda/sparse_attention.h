#ifndef SIEVE_KERNELS_CUDA_SPARSE_ATTENTION_H_
#define SIEVE_KERNELS_CUDA_SPARSE_ATTENTION_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/sparse_batch.h"

namespace sieve::cuda {

// Exact attention to the base set, to the selected blocks or to both, as unfinished sums.
struct SparseAttentionParams {
  SparseBatch batch;
  bool base = true, chosen = true;    // what is read
  const int32_t* selected = nullptr;  // [rows, num_kv_heads, num_selected]: blocks, ascending
  int64_t num_selected = 0;           // or as many as there are candidates
  float* partials = nullptr;  // [rows, num_heads, max_splits, PartialFloats] (sparse_partial.cuh)
  // 1: all of a token's blocks at once. More: pieces are of one token, and each four neighbouring
  // blocks (by position, as in dense attention) of which it reads some are a partial result;
  // MostSparseSplits, or more. The bits are the same.
  int64_t max_splits = 1;
};
cudaError_t SparseAttention(const SparseAttentionParams& params, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_SPARSE_ATTENTION_H_
