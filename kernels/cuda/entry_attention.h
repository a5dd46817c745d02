#ifndef SIEVE_KERNELS_CUDA_ENTRY_ATTENTION_H_
#define SIEVE_KERNELS_CUDA_ENTRY_ATTENTION_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/block_summary.h"
#include "kernels/cuda/sparse_batch.h"

namespace sieve::cuda {

// Attention to compressed entries, as unfinished sums: of the candidates that were not selected, or
// of all blocks before the token's. Logits are scale q . k + a; what all entries of a head have in
// common is Combine's.
struct EntryAttentionParams {
  SparseBatch batch;
  SummaryLayout layout{};
  SummaryView summaries{};
  bool all_blocks = false;
  const int32_t* selected = nullptr;  // as SparseAttentionParams'
  int64_t num_selected = 0;
  float* partials = nullptr;  // as SparseAttentionParams'
  // 1: all entries at once. More: pieces are of one token, and each kEntriesPerSplit entries (by
  // position) are a partial result; EntrySplits, or more. The bits are the same.
  int64_t max_splits = 1;
};
cudaError_t EntryAttention(const EntryAttentionParams& params, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_ENTRY_ATTENTION_H_
