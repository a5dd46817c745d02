#ifndef SIEVE_KERNELS_DEQUANTIZE_H_
#define SIEVE_KERNELS_DEQUANTIZE_H_

#include <cstdint>

#include "kernels/dtype.h"

namespace sieve {

// Expands one row of `cols` values to float. The specification of every storage type, after ggml's
// formats (https://github.com/ggml-org/ggml, ggml-quants). REQUIRES: cols is a multiple of the
// type's block. `row` may be unaligned.
void DequantizeRow(DType dtype, const void* row, int64_t cols, float* out);

}  // namespace sieve

#endif  // SIEVE_KERNELS_DEQUANTIZE_H_
