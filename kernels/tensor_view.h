#ifndef SIEVE_KERNELS_TENSOR_VIEW_H_
#define SIEVE_KERNELS_TENSOR_VIEW_H_

#include <cstdint>

#include "kernels/dtype.h"

namespace sieve {

// A matrix [rows, cols], row-major, rows contiguous; a vector has rows == 1. Borrows its memory.
struct TensorView {
  const void* data = nullptr;  // nullptr: absent
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;

  explicit operator bool() const { return data != nullptr; }
  int64_t bytes() const { return rows * RowBytes(dtype, cols); }
  const void* row(int64_t r) const {
    return static_cast<const char*>(data) + r * RowBytes(dtype, cols);
  }
};

}  // namespace sieve

#endif  // SIEVE_KERNELS_TENSOR_VIEW_H_
