#ifndef SIEVE_KERNELS_CUDA_ELEMENTWISE_H_
#define SIEVE_KERNELS_CUDA_ELEMENTWISE_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/dtype.h"

namespace sieve::cuda {

// Device pointers throughout; row-major, rows contiguous unless a stride or an order is named.

// out[t, i] = table[tokens[t], i].
struct EmbedParams {
  const void* table = nullptr;      // [vocabulary, hidden]; 16 bits: in weight_tiles.h's order
  DType dtype = DType::kBF16;       // of table: kF32, kF16 or kBF16
  const int32_t* tokens = nullptr;  // [num_tokens], in range
  float* out = nullptr;             // [num_tokens, hidden]
  int64_t num_tokens = 0;
  int64_t hidden = 0;
};
cudaError_t Embed(const EmbedParams& params, cudaStream_t stream);

// out[t, i] = x[t, i] * weight[i] / sqrt(mean(x[t]^2) + epsilon). The sum's order depends on
// `hidden` alone.
struct RmsNormParams {
  const float* x = nullptr;       // [num_tokens, hidden]
  const float* weight = nullptr;  // [hidden]
  void* out = nullptr;            // [num_tokens, hidden]
  DType dtype = DType::kBF16;     // of out
  int64_t num_tokens = 0;
  int64_t hidden = 0;  // a multiple of 4
  float epsilon = 0;
};
cudaError_t RmsNorm(const RmsNormParams& params, cudaStream_t stream);

// Row i of out = row rows[i] of from. Buffers are apart from each other and 16-byte aligned.
struct GatherRowsParams {
  const void* from = nullptr;
  const int32_t* rows = nullptr;  // [num_rows]
  void* out = nullptr;
  int64_t num_rows = 0;
  int64_t row_bytes = 0;  // a multiple of 16
};
cudaError_t GatherRows(const GatherRowsParams& params, cudaStream_t stream);

// out[t, i] = silu(gate[t, i]) * up[t, i], silu(g) = g / (1 + exp(-g)).
struct SwiGluParams {
  const float* gate_up = nullptr;  // [num_tokens, 2 inner], at GateRow and UpRow
  void* out = nullptr;             // [num_tokens, inner]
  DType dtype = DType::kBF16;      // of out
  int64_t num_tokens = 0;
  int64_t inner = 0;  // a multiple of 8
};
cudaError_t SwiGlu(const SwiGluParams& params, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_ELEMENTWISE_H_
