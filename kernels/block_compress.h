#ifndef SIEVE_KERNELS_BLOCK_COMPRESS_H_
#define SIEVE_KERNELS_BLOCK_COMPRESS_H_

#include <cstdint>

#include "kernels/block_summary.h"
#include "kernels/paged_attention_params.h"

namespace sieve {

// How the keys, or the values, of an entry's l tokens become one vector; docs/adapters.md has the
// formulas.
struct EntryParams {
  bool max = false;                 // the maximum by channel instead of the mean
  const float* position = nullptr;  // [l, d] added to each token first, or none
  // An MLP beside it, down . gelu(up . x), or none.
  const float* up = nullptr;    // [inner, l * d]
  const float* down = nullptr;  // [d, inner]
  int64_t inner = 0;
};

// The summary of one complete block, one key/value head.
struct BlockCompressParams {
  PagedKvView kv{};
  int64_t page = 0;
  int64_t kv_head = 0;
  SummaryLayout layout{};  // what to write
  char* summary = nullptr;
  const float* index_k = nullptr;  // [d, index_rank]
  const float* gate_k = nullptr;   // [d, 3 d]
  const float* cosines = nullptr;  // [64, d / 2], of the block's positions; for the gate
  const float* sines = nullptr;    // [64, d / 2]
  bool interleaved = false;        // see ApplyRope
  const float* tilt = nullptr;     // [d]: entries are tilted means, `keys` and `max` are not asked
  EntryParams keys{};
  EntryParams values{};
};

int64_t BlockCompressScratchFloats(const SummaryLayout& layout, int64_t inner);

// Writes the summary. Single-threaded; depends on the cache's keys and values alone. Sums are in
// double, the products of the gate and of the MLPs by MatMul. `scratch` is 32-byte aligned.
void CompressBlock(const BlockCompressParams& params, float* scratch);

// The specification: the products by MatMulReference.
void CompressBlockReference(const BlockCompressParams& params, float* scratch);

}  // namespace sieve

#endif  // SIEVE_KERNELS_BLOCK_COMPRESS_H_
