#ifndef SIEVE_MODEL_CUDA_SPARSE_SCRATCH_H_
#define SIEVE_MODEL_CUDA_SPARSE_SCRATCH_H_

#include <cstdint>

#include "model/adapter/adapter_config.h"

namespace sieve {

// What sparse attention keeps of a row (a token) between its kernels: the extents of arrays by row,
// and their elements, all of 4 bytes.
struct SparseRow {
  int64_t max_candidates = 0;
  int64_t exact_splits = 1;
  int64_t entry_splits = 1;
  int64_t logits = 0;     // [num_heads, max_candidates]
  int64_t projected = 0;  // queries for the choice
  int64_t selected = 0;   // [num_kv_heads, selected_blocks]
  int64_t entries = 0;    // partial sums, [num_heads, entry_splits, PartialFloats]
  int64_t chosen = 0;     // likewise, exact_splits
  int64_t base = 0;       // likewise, where the base set is a part of its own

  int64_t Bytes() const;
};

// Of tokens in block `own` or before. `single`: pieces of one token, whose sums are split.
SparseRow SparseRowOf(const AdapterConfig& config, int64_t own, bool single);

// Bytes of scratch for so many rows.
int64_t SparseScratchBytes(const SparseRow& row, int64_t rows);

struct SparseScratch {
  float* logits = nullptr;
  float* projected = nullptr;
  int32_t* selected = nullptr;
  float* entries = nullptr;
  float* chosen = nullptr;
  float* base = nullptr;
};
SparseScratch CarveSparseScratch(const SparseRow& row, int64_t rows, char* base);

}  // namespace sieve

#endif  // SIEVE_MODEL_CUDA_SPARSE_SCRATCH_H_
