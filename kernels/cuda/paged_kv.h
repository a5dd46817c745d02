#ifndef SIEVE_KERNELS_CUDA_PAGED_KV_H_
#define SIEVE_KERNELS_CUDA_PAGED_KV_H_

#include <cstdint>

#include "kernels/cuda/host_device.h"
#include "kernels/dtype.h"

namespace sieve::cuda {

// Tokens of a page of keys and values.
inline constexpr int kPageTokens = 64;

// One layer's pages in device memory. Page p, key/value head h starts at base + p * page_stride + h
// * head_stride and holds the keys [64, head_dim], then the values [64, head_dim], each in the
// order of PageOffset. (Host pages hold the keys transposed.)
struct PagedKv {
  char* base = nullptr;
  int64_t page_stride = 0;     // bytes
  int64_t head_stride = 0;     // bytes
  DType dtype = DType::kBF16;  // kF32, kF16 or kBF16
  int64_t head_dim = 0;
};

// Where element `dim` of the key or value of the token in `slot` is, in elements of
// `element_bytes`. Where rows of 16-bit elements are multiples of 128 bytes, a page is what tensor
// cores want to find in shared memory, and comes there by one bulk copy: columns of 64 elements, in
// each of which a token is 128 bytes with its 16-byte chunks permuted as in TMA's 128-byte swizzle.
// Otherwise plain rows.
SIEVE_HOST_DEVICE constexpr int PageOffset(int slot, int dim, int head_dim, int element_bytes) {
  if (element_bytes != 2 || head_dim % 64 != 0) return slot * head_dim + dim;
  return dim / 64 * 64 * kPageTokens + slot * 64 + ((dim % 64 / 8) ^ (slot % 8)) * 8 + dim % 8;
}

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_PAGED_KV_H_
