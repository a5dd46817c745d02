#include "trainer/fused_block_log_sum_exp.h"

#include <stdexcept>
#include <string>

#include "kernels/cuda/block_log_sum_exp.h"

namespace sieve {
namespace {

// What LibTorch computes on where no other is asked for.
const cudaStream_t kStream = cudaStreamLegacy;

cuda::BlockLogSumExpParams Params(const at::Tensor& q, const at::Tensor& k, const at::Tensor& out,
                                  int64_t begin) {
  return {.q = q.const_data_ptr<float>(),
          .k = k.const_data_ptr<float>(),
          .out = out.data_ptr<float>(),
          .batch = q.size(0) * q.size(1),
          .rows = q.size(2) * q.size(3),
          .positions = q.size(3),
          .begin = begin,
          .blocks = out.size(4),
          .width = q.size(4)};
}

// As LibTorch tells of its own kernels.
void Check(cudaError_t error) {
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string("block log-sum-exp: ") + cudaGetErrorString(error));
  }
}

}  // namespace

bool HasFusedBlockLogSumExp(int64_t width, bool with_gradient) {
  return cuda::BlockLogSumExpSupports(width) &&
         (!with_gradient || cuda::BlockLogSumExpGradientSupports(width));
}

at::Tensor FusedBlockLogSumExp(const at::Tensor& q, const at::Tensor& k, int64_t begin) {
  const at::Tensor out =
      at::empty({q.size(0), q.size(1), q.size(2), q.size(3), k.size(2) / 64}, q.options());
  Check(cuda::BlockLogSumExp(Params(q, k, out, begin), kStream));
  return out;
}

std::pair<at::Tensor, at::Tensor> FusedBlockLogSumExpGradient(const at::Tensor& q,
                                                              const at::Tensor& k,
                                                              const at::Tensor& out,
                                                              const at::Tensor& gradient,
                                                              int64_t begin) {
  const at::Tensor of_q = at::empty_like(q), of_k = at::empty_like(k);
  Check(cuda::BlockLogSumExpGradient({.of = Params(q, k, out, begin),
                                      .gradient = gradient.const_data_ptr<float>(),
                                      .q_gradient = of_q.data_ptr<float>(),
                                      .k_gradient = of_k.data_ptr<float>()},
                                     kStream));
  return {of_q, of_k};
}

}  // namespace sieve
