#ifndef SIEVE_KERNELS_CUDA_ROPE_PARAMS_H_
#define SIEVE_KERNELS_CUDA_ROPE_PARAMS_H_

#include <cstdint>

#include "kernels/cuda/paged_kv.h"

namespace sieve::cuda {

// Rotates queries and keys (pairs (2i, 2i+1) when interleaved, else (i, i + head_dim/2)), writes
// the queries to `q` and keys and values to the cache. Without key/value heads (or query heads) the
// others alone are there, and only they are written.
struct RopeAndStoreParams {
  const float* qkv = nullptr;             // [num_tokens, num_heads + 2 num_kv_heads, head_dim]
  const float* cosines = nullptr;         // [num_tokens, head_dim / 2]
  const float* sines = nullptr;           // [num_tokens, head_dim / 2]
  const int32_t* block_tables = nullptr;  // pages of sequence s from s * block_table_stride on
  int64_t block_table_stride = 0;
  const int32_t* sequences = nullptr;  // [num_tokens]: the sequence of each token
  const int32_t* positions = nullptr;  // [num_tokens]
  PagedKv kv;                          // of one layer; head_dim a multiple of 16
  void* q = nullptr;                   // [num_tokens, num_heads, head_dim], of kv.dtype
  int64_t num_tokens = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;  // 0: sequences and block_tables are not read
  bool interleaved = false;
};

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_ROPE_PARAMS_H_
