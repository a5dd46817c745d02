#ifndef SIEVE_KERNELS_BLOCK_LOG_SUM_EXP_H_
#define SIEVE_KERNELS_BLOCK_LOG_SUM_EXP_H_

#include <cstdint>
#include <vector>

namespace sieve {

// The specification of kernels/cuda/block_log_sum_exp.h, whose terms these are.
struct BlockLogSumExpShape {
  int64_t batch = 0;
  int64_t rows = 0;
  int64_t positions = 0;
  int64_t begin = 0;
  int64_t blocks = 0;
  int64_t width = 0;
};

// [batch, rows, blocks], of q [batch, rows, width] and k [batch, 64 blocks, width].
std::vector<double> BlockLogSumExpReference(const BlockLogSumExpShape& shape, const float* q,
                                            const float* k);

// Adds to q_gradient and k_gradient, of the shapes of q and k, what `gradient` of the result gives.
void BlockLogSumExpGradientReference(const BlockLogSumExpShape& shape, const float* q,
                                     const float* k, const float* gradient, double* q_gradient,
                                     double* k_gradient);

}  // namespace sieve

#endif  // SIEVE_KERNELS_BLOCK_LOG_SUM_EXP_H_
