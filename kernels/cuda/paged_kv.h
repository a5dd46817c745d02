#ifndef SIEVE_KERNELS_CUDA_PAGED_KV_H_
#define SIEVE_KERNELS_CUDA_PAGED_KV_H_

#include <cstdint>

#include "kernels/dtype.h"

namespace sieve::cuda {

// Tokens of a page of keys and values.
inline constexpr int kPageTokens = 64;

// One layer's pages in device memory. Page p, key/value head h starts at base + p * page_stride + h
// * head_stride and holds the keys [64, head_dim], then the values [64, head_dim]. (Host pages hold
// the keys transposed.)
struct PagedKv {
  char* base = nullptr;
  int64_t page_stride = 0;     // bytes
  int64_t head_stride = 0;     // bytes
  DType dtype = DType::kBF16;  // kF32, kF16 or kBF16
  int64_t head_dim = 0;
};

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_PAGED_KV_H_
