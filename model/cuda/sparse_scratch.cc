#include "model/cuda/sparse_scratch.h"

#include <algorithm>

#include "kernels/cuda/sparse_batch.h"
#include "model/cuda/carver.h"

namespace sieve {
namespace {

constexpr int64_t kElementBytes = 4;

SparseScratch Carve(const SparseRow& row, int64_t rows, char* base, int64_t* bytes) {
  Carver carver(base);
  SparseScratch scratch;
  scratch.logits = carver.Take<float>(rows * row.logits);
  scratch.projected = carver.Take<float>(rows * row.projected);
  scratch.selected = carver.Take<int32_t>(rows * row.selected);
  scratch.entries = carver.Take<float>(rows * row.entries);
  scratch.chosen = carver.Take<float>(rows * row.chosen);
  scratch.base = carver.Take<float>(rows * row.base);
  *bytes = carver.bytes();
  return scratch;
}

}  // namespace

int64_t SparseRow::Bytes() const {
  return (logits + projected + selected + entries + chosen + base) * kElementBytes;
}

SparseRow SparseRowOf(const AdapterConfig& c, int64_t own, bool single) {
  SparseRow row;
  row.max_candidates = cuda::CandidatesOf(own, c.sink_blocks, c.window_blocks).count();
  if (single) {
    row.exact_splits =
        cuda::MostSparseSplits(own, c.sink_blocks, c.window_blocks, c.selected_blocks);
    row.entry_splits = std::max<int64_t>(1, cuda::EntrySplits(own, c.entries_per_block()));
  }
  const int64_t partial = c.num_heads * (c.head_dim + 2);
  if (row.max_candidates > c.selected_blocks && c.selected_blocks > 0) {
    row.logits = c.num_heads * row.max_candidates;
    if (c.selector == Selector::kIndex) row.projected = c.num_heads * c.index_rank;
    if (c.selector == Selector::kGate) row.projected = c.num_kv_heads * c.head_dim;
  }
  row.selected = c.num_kv_heads * c.selected_blocks;
  if (c.tail || c.combiner == Combiner::kLiteral) row.entries = partial * row.entry_splits;
  row.chosen = partial * row.exact_splits;
  if (c.combiner == Combiner::kLiteral || c.branch_biases) row.base = row.chosen;
  return row;
}

int64_t SparseScratchBytes(const SparseRow& row, int64_t rows) {
  int64_t bytes = 0;
  Carve(row, rows, nullptr, &bytes);
  return bytes;
}

SparseScratch CarveSparseScratch(const SparseRow& row, int64_t rows, char* base) {
  int64_t bytes = 0;
  return Carve(row, rows, base, &bytes);
}

}  // namespace sieve
