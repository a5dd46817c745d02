#ifndef SIEVE_KERNELS_MATMUL_H_
#define SIEVE_KERNELS_MATMUL_H_

#include <cstdint>

#include "kernels/matmul_params.h"

namespace sieve {

// Floats of scratch that one call needs for rows of `cols` inputs.
int64_t MatMulScratchFloats(int64_t cols);

// Single-threaded; callers split the rows among threads. Each y is computed in one order of
// additions, whatever `tokens` and the row range are: a token's result does not depend on its
// company in the batch. `scratch` is 32-byte aligned. Uses AVX2 and FMA where the processor has
// them.
void MatMul(const MatMulParams& params, float* scratch);

// The specification: plain loops over DequantizeRow, sums in double.
void MatMulReference(const MatMulParams& params, float* scratch);

}  // namespace sieve

#endif  // SIEVE_KERNELS_MATMUL_H_
