#ifndef SIEVE_KERNELS_CUDA_ENTRY_MLP_H_
#define SIEVE_KERNELS_CUDA_ENTRY_MLP_H_

// The MLP beside the mean or maximum of an entry, down . gelu(up . x), is two MatMuls of all
// entries of a key/value head and what is here.

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/block_summary.h"
#include "kernels/cuda/paged_kv.h"
#include "kernels/cuda/sparse_batch.h"
#include "kernels/dtype.h"

namespace sieve::cuda {

// Entries of blocks, of one key/value head. Device pointers.
struct EntryMlpParams {
  PagedKv kv;
  SummaryLayout layout{};
  SummaryView summaries{};
  const CompletedBlock* blocks = nullptr;  // [num_blocks]
  int64_t num_blocks = 0;
  int64_t kv_head = 0;
  bool values = false;              // entries of values, else of keys
  const float* position = nullptr;  // [l, d] of the head, added to each token, or none
};

// out[block * entries + e] = the entry's tokens one behind the other, [l d], of the cache's type.
cudaError_t GatherEntries(const EntryMlpParams& params, void* out, cudaStream_t stream);

// out[i] = gelu(x[i]), the exact one, as `dtype`.
cudaError_t Gelu(const float* x, void* out, DType dtype, int64_t count, cudaStream_t stream);

// Writes entries [num_blocks, entries, d] to the summaries.
cudaError_t StoreEntries(const EntryMlpParams& params, const float* entries, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_ENTRY_MLP_H_
