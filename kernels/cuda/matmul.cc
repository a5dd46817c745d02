#include "kernels/cuda/matmul.h"

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/hopper_matmul.h"
#include "kernels/cuda/portable_matmul.h"
#include "kernels/cuda/rope.h"
#include "kernels/cuda/this_chip.h"

namespace sieve::cuda {
namespace {

bool UsesHopper(DType dtype) {
  return (dtype == DType::kBF16 || dtype == DType::kF16) && ThisChip().is_hopper();
}

bool IsFused(const GatedMatMulParams& p) { return UsesHopper(p.dtype) && p.inputs <= kChainLength; }

}  // namespace

cudaError_t MatMul(const MatMulParams& params, cudaStream_t stream) {
  if (params.num_tokens == 0 || params.outputs == 0) return cudaSuccess;
  if (UsesHopper(params.dtype) && params.inputs % 8 == 0) return HopperMatMul(params, stream);
  return PortableMatMul(params, stream);
}

cudaError_t GatedMatMul(const GatedMatMulParams& params, cudaStream_t stream) {
  if (params.inputs % 8 != 0 || params.intermediate % 8 != 0) return cudaErrorInvalidValue;
  if (params.num_tokens == 0 || params.intermediate == 0) return cudaSuccess;
  if (IsFused(params)) return HopperGatedMatMul(params, stream);
  const MatMulParams product = {.weights = params.weights,
                                .x = params.x,
                                .bias = params.bias,
                                .y = params.gate_up,
                                .dtype = params.dtype,
                                .num_tokens = params.num_tokens,
                                .outputs = 2 * params.intermediate,
                                .inputs = params.inputs};
  if (const cudaError_t error = MatMul(product, stream); error != cudaSuccess) return error;
  return SwiGlu({.gate_up = params.gate_up,
                 .out = params.inner,
                 .dtype = params.dtype,
                 .num_tokens = params.num_tokens,
                 .inner = params.intermediate},
                stream);
}

cudaError_t ProjectHeads(const MatMulParams& params, const RopeAndStoreParams& rope,
                         cudaStream_t stream) {
  if (UsesHopper(params.dtype) && params.inputs % 8 == 0 && HopperHeadsSupport(params, rope)) {
    return HopperHeads(params, rope, stream);
  }
  if (const cudaError_t error = MatMul(params, stream); error != cudaSuccess) return error;
  return RopeAndStore(rope, stream);
}

int64_t GatedMatMulScratchFloats(const GatedMatMulParams& params) {
  return IsFused(params) ? 0 : params.num_tokens * 2 * params.intermediate;
}

}  // namespace sieve::cuda
