#ifndef SIEVE_KERNELS_CUDA_BLOCK_LOG_SUM_EXP_H_
#define SIEVE_KERNELS_CUDA_BLOCK_LOG_SUM_EXP_H_

#include <cuda_runtime_api.h>

#include <cstdint>

namespace sieve::cuda {

// out[b, r, n] = log sum_{j < 64} exp(q[b, r] . k[b, 64 n + j]) for the blocks that end before the
// block of a row's position, begin + r mod positions; zero for the others. What training computes
// of selectors and of the true mass of blocks, for prompts that lie whole in memory.
// Device pointers, float32, row-major, 16-byte aligned.
struct BlockLogSumExpParams {
  const float* q = nullptr;  // [batch, rows, width]
  const float* k = nullptr;  // [batch, 64 blocks, width]
  float* out = nullptr;      // [batch, rows, blocks]
  int64_t batch = 0;
  int64_t rows = 0;       // `positions` rows for each query head
  int64_t positions = 0;  // queries at consecutive positions
  int64_t begin = 0;      // position of the first
  int64_t blocks = 0;
  int64_t width = 0;  // one of those below
};
// 8, 16, 32, 64 and 128.
bool BlockLogSumExpSupports(int64_t width);
cudaError_t BlockLogSumExp(const BlockLogSumExpParams& params, cudaStream_t stream);

// Gradients of it: gradient [batch, rows, blocks] is that of `out`, which must be as computed.
struct BlockLogSumExpGradientParams {
  BlockLogSumExpParams of;
  const float* gradient = nullptr;
  float* q_gradient = nullptr;  // [batch, rows, width]
  float* k_gradient = nullptr;  // [batch, 64 blocks, width]
};
// 8, 16 and 32.
bool BlockLogSumExpGradientSupports(int64_t width);
// Sums are made in one order: equal inputs give equal bits.
cudaError_t BlockLogSumExpGradient(const BlockLogSumExpGradientParams& params, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_BLOCK_LOG_SUM_EXP_H_
