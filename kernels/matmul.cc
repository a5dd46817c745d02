#include "kernels/matmul.h"

#include "kernels/cpu_features.h"
#include "kernels/dequantize.h"
#include "kernels/matmul_avx2.h"

namespace sieve {

int64_t MatMulScratchFloats(int64_t cols) { return kMatMulTileRows * PaddedCols(cols); }

void MatMulReference(const MatMulParams& p, float* scratch) {
  const int64_t cols = p.weights.cols;
  for (int64_t n = p.row_begin; n < p.row_end; ++n) {
    DequantizeRow(p.weights.dtype, p.weights.row(n), cols, scratch);
    for (int64_t t = 0; t < p.tokens; ++t) {
      double sum = p.bias != nullptr ? p.bias[n] : 0;
      for (int64_t k = 0; k < cols; ++k) {
        sum += static_cast<double>(scratch[k]) * p.x[t * p.x_stride + k];
      }
      float& y = p.y[t * p.y_stride + n];
      y = p.accumulate ? static_cast<float>(y + sum) : static_cast<float>(sum);
    }
  }
}

void MatMul(const MatMulParams& params, float* scratch) {
  if (HasAvx2()) {
    MatMulAvx2(params, scratch);
  } else {
    MatMulReference(params, scratch);
  }
}

}  // namespace sieve
