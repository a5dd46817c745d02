#ifndef SIEVE_KERNELS_BLOCK_SUMMARY_H_
#define SIEVE_KERNELS_BLOCK_SUMMARY_H_

#include <cstdint>

#include "kernels/dtype.h"

namespace sieve {

// Where the parts of a block's summary of one key/value head lie: bytes from its start, -1 for what
// is not kept. "Values" have the type of the cache; docs/adapters.md says what they are.
struct SummaryLayout {
  DType dtype = DType::kF32;  // kF32, kF16 or kBF16
  int64_t head_dim = 0;       // d
  int64_t mean = -1;          // [d] values: of the block's keys
  int64_t max = -1;           // [d] values: by channel
  int64_t min = -1;           // [d] values
  int64_t gate = -1;          // [d] values: the gate's vector, rotated
  int64_t index_rank = 0;     // r
  int64_t index_bits = 0;     // 4: two codes a byte, the even token's low; 16: values
  int64_t index_lo = -1;      // [r] floats; index_bits 4
  int64_t index_step = -1;    // [r] floats; index_bits 4
  int64_t index_codes = -1;   // [r, 64]
  int64_t entries = 0;        // n, compressed entries
  int64_t entry_keys = -1;    // [n, d] values
  int64_t entry_values = -1;  // [n, d] values
  int64_t entry_biases = -1;  // [n] floats; tilted
  int64_t bytes = 0;          // of all, a multiple of kSummaryAlignment
};

inline constexpr int64_t kSummaryAlignment = 16;  // bytes, of every part

// One layer's summaries: that of page p, key/value head h starts at base + p * page_stride +
// h * head_stride.
struct SummaryView {
  char* base = nullptr;
  int64_t page_stride = 0;  // bytes
  int64_t head_stride = 0;  // bytes

  constexpr char* of(int64_t page, int64_t head) const {
    return base + page * page_stride + head * head_stride;
  }
};

}  // namespace sieve

#endif  // SIEVE_KERNELS_BLOCK_SUMMARY_H_
