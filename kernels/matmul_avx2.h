#ifndef SIEVE_KERNELS_MATMUL_AVX2_H_
#define SIEVE_KERNELS_MATMUL_AVX2_H_

#include <cstdint>

#include "kernels/matmul_params.h"

namespace sieve {

// Rows of weights that are expanded to float at a time.
inline constexpr int kMatMulTileRows = 4;

// Expanded rows are padded with zeros to whole blocks of 32.
constexpr int64_t PaddedCols(int64_t cols) { return (cols + 31) / 32 * 32; }

// MatMul with AVX2 and FMA. REQUIRES: HasAvx2().
void MatMulAvx2(const MatMulParams& params, float* scratch);

}  // namespace sieve

#endif  // SIEVE_KERNELS_MATMUL_AVX2_H_
