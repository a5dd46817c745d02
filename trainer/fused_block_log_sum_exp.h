#ifndef SIEVE_TRAINER_FUSED_BLOCK_LOG_SUM_EXP_H_
#define SIEVE_TRAINER_FUSED_BLOCK_LOG_SUM_EXP_H_

#include <cstdint>
#include <utility>

#include "trainer/torch_ops.h"

namespace sieve {

// kernels/cuda/block_log_sum_exp.h on tensors; shapes are those of BlockLogSumExp, all contiguous
// float32 of one CUDA device. Whether this build has kernels of the width:
bool HasFusedBlockLogSumExp(int64_t width, bool with_gradient);
at::Tensor FusedBlockLogSumExp(const at::Tensor& q, const at::Tensor& k, int64_t begin);
// Of q and of k.
std::pair<at::Tensor, at::Tensor> FusedBlockLogSumExpGradient(const at::Tensor& q,
                                                              const at::Tensor& k,
                                                              const at::Tensor& out,
                                                              const at::Tensor& gradient,
                                                              int64_t begin);

}  // namespace sieve

#endif  // SIEVE_TRAINER_FUSED_BLOCK_LOG_SUM_EXP_H_
