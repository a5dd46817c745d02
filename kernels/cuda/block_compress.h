#ifndef SIEVE_KERNELS_CUDA_BLOCK_COMPRESS_H_
#define SIEVE_KERNELS_CUDA_BLOCK_COMPRESS_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/block_summary.h"
#include "kernels/cuda/paged_kv.h"
#include "kernels/cuda/sparse_batch.h"

namespace sieve::cuda {

// How the keys, or the values, of an entry's l tokens become one vector.
struct EntryPooling {
  bool max = false;                 // the maximum by channel instead of the mean
  const float* position = nullptr;  // [num_kv_heads, l, d] added to each token first, or none
};

// Summaries of complete blocks. Device pointers.
struct BlockCompressParams {
  PagedKv kv;
  int64_t num_kv_heads = 0;
  SummaryLayout layout{};  // what to write
  SummaryView summaries{};
  const CompletedBlock* blocks = nullptr;  // [num_blocks]
  int64_t num_blocks = 0;
  const float* index_k = nullptr;      // [num_kv_heads, d, index_rank]
  const float* gate_k = nullptr;       // [num_kv_heads, 3 d, d]: the file's, transposed
  const float* frequencies = nullptr;  // [d / 2], of RoPE; for the gate
  bool interleaved = false;
  const float* tilt = nullptr;  // [num_kv_heads, d]: entries are tilted means
  EntryPooling keys{};
  EntryPooling values{};
  // Where entries go that an MLP will add to (entry_mlp.h), before they are rounded:
  // [num_kv_heads, num_blocks, entries, d]. Null: to the summary.
  float* pooled_keys = nullptr;
  float* pooled_values = nullptr;
};

// sieve::CompressBlock of each block and key/value head, but its MLPs. Depends on the cache's keys
// and values alone. cudaErrorInvalidValue for a head dimension over 256.
cudaError_t CompressBlocks(const BlockCompressParams& params, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_BLOCK_COMPRESS_H_
