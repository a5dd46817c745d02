#ifndef SIEVE_KERNELS_CUDA_BLOCK_SCORES_H_
#define SIEVE_KERNELS_CUDA_BLOCK_SCORES_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/block_scores_params.h"
#include "kernels/cuda/sparse_batch.h"

namespace sieve::cuda {

// The logits of each token's candidates, as sieve::BlockLogits. Device pointers.
struct BlockLogitsParams {
  SparseBatch batch;
  BlockScore score = BlockScore::kMean;
  SummaryLayout layout{};
  SummaryView summaries{};
  // kIndex: IndexQueries' [rows, num_heads, index_rank]; kGate: GateQueries' [rows, num_kv_heads,
  // d].
  const float* projected = nullptr;
  float* logits = nullptr;     // [rows, num_heads, max_candidates]
  int64_t max_candidates = 0;  // of a token
};
// The bits of a logit depend on its token and block alone.
cudaError_t BlockLogits(const BlockLogitsParams& params, cudaStream_t stream);

// Which candidates are selected: those with the largest sum of probabilities (softmax of a row of
// logits) over the group's heads and the tokens of a choice; the lower block first among equals,
// NaN last.
struct SelectBlocksParams {
  SparseBatch batch;  // pieces: tokens that have one choice in common
  const float* logits = nullptr;
  int64_t max_candidates = 0;  // at most kMostBlocks
  int64_t num_selected = 0;
  int32_t* selected = nullptr;  // [rows, num_kv_heads, num_selected]: blocks, ascending
};
// Where a token has no more candidates than that, all of them are selected.
cudaError_t SelectBlocks(const SelectBlocksParams& params, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_BLOCK_SCORES_H_
