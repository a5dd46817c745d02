#ifndef SIEVE_MODEL_CACHE_GEOMETRY_H_
#define SIEVE_MODEL_CACHE_GEOMETRY_H_

#include <cstdint>

#include "kernels/dtype.h"

namespace sieve {

// Tokens in a page: the unit of allocation, of prefix reuse and of block selection.
inline constexpr int64_t kPageTokens = 64;

// Shape of the paged key/value cache. A page holds, for each layer and key/value head, 64 keys, 64
// values and `summary_bytes` of summary entries (compressed keys and values, block statistics,
// index codes: whatever the attention variant keeps for a block; dense attention keeps none).
struct CacheGeometry {
  int64_t num_layers = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  DType dtype = DType::kF16;  // kF32, kF16 or kBF16
  int64_t summary_bytes = 0;  // a page, layer and key/value head

  // One of keys or values, one head of one layer.
  int64_t HeadBytes() const { return kPageTokens * RowBytes(dtype, head_dim); }
  int64_t SummaryBytesPerPage() const { return num_layers * num_kv_heads * summary_bytes; }
  int64_t BytesPerPage() const {
    return num_layers * num_kv_heads * 2 * HeadBytes() + SummaryBytesPerPage();
  }
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CACHE_GEOMETRY_H_
