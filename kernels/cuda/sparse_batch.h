#ifndef SIEVE_KERNELS_CUDA_SPARSE_BATCH_H_
#define SIEVE_KERNELS_CUDA_SPARSE_BATCH_H_

// What the kernels of sparse attention have in common. docs/adapters.md has the formulas, and the
// CPU's kernels (kernels/block_compress.h, block_scores.h, compressed_attention.h, merge.h) are the
// specification.

#include <cstdint>

#include "kernels/cuda/attention_params.h"
#include "kernels/cuda/host_device.h"

namespace sieve::cuda {

// Consecutive tokens of one sequence that lie in one block of 64 positions, so that they have the
// same candidates.
struct SparsePiece {
  AttentionTile tile;
  int32_t first_row = 0;  // of the arrays that are by row: that of the tile's first token
};

// Tokens of one adapter in one layer. Device pointers. What is "by row" lies in arrays that begin
// with row `first_row`; q and out are by token of the step.
struct SparseBatch {
  PagedAttentionParams attention;  // but its tiles; out: Combine's
  const SparsePiece* pieces = nullptr;
  int64_t num_pieces = 0;
  int64_t max_tokens = 1;  // of a piece
  int64_t first_row = 0;
  int64_t sink_blocks = 0;
  int64_t window_blocks = 0;
};

// A block whose last token is in the cache.
struct CompletedBlock {
  int32_t page = 0;
  int32_t block = 0;  // of its sequence
};

// Rows (a token and a query head) of a piece that a thread block takes.
inline constexpr int kPieceRows = 64;

// Blocks of the longest context that the kernels take: 2^20 tokens.
inline constexpr int64_t kMostBlocks = 1 << 14;

// The most tokens of a piece: a power of two, so that pieces begin at its multiples.
constexpr int64_t PieceTokens(int64_t group) {
  int64_t tokens = 1;
  while (2 * tokens * group <= kPieceRows) tokens *= 2;
  return tokens;
}

// Blocks begin .. end - 1 of which some are selected, for tokens of block `own`; the others up to
// `own` are the base set.
struct Candidates {
  int begin = 0, end = 0;
  SIEVE_HOST_DEVICE constexpr int count() const { return end - begin; }
};
SIEVE_HOST_DEVICE constexpr Candidates CandidatesOf(int64_t own, int64_t sink_blocks,
                                                    int64_t window_blocks) {
  const int64_t begin = sink_blocks < own ? sink_blocks : own;
  const int64_t end = own - window_blocks > begin ? own - window_blocks : begin;
  return {static_cast<int>(begin), static_cast<int>(end)};
}

// Fours of neighbouring blocks (kSplitTokens) of which a token in block `own`, or before, reads
// some.
constexpr int64_t MostSparseSplits(int64_t own, int64_t sink_blocks, int64_t window_blocks,
                                   int64_t num_selected) {
  constexpr int64_t kBlocks = kSplitTokens / kPageTokens;
  const int64_t sinks = (sink_blocks + kBlocks - 1) / kBlocks;
  const int64_t window = (window_blocks + kBlocks - 1) / kBlocks + 1;  // begins anywhere
  const int64_t apart = sinks + window + num_selected, all = own / kBlocks + 1;
  return apart < all ? apart : all;
}

// Compressed entries of a partial result, and how many of these a context of `blocks` blocks has.
inline constexpr int kEntriesPerSplit = 128;
constexpr int64_t EntrySplits(int64_t blocks, int64_t entries_per_block) {
  return (blocks * entries_per_block + kEntriesPerSplit - 1) / kEntriesPerSplit;
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_SPARSE_BATCH_H_
