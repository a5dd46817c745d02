#ifndef SIEVE_TRAINER_BLOCK_LOG_SUM_EXP_H_
#define SIEVE_TRAINER_BLOCK_LOG_SUM_EXP_H_

#include <cstdint>

#include "trainer/torch_ops.h"

namespace sieve {

// [N, K, G, Q, n], float32: the log-sum-exp, for each of the n blocks of 64 keys, of the products
// of a query with the block's keys; differentiable. Only for blocks before that of the query's
// position, which are `begin` and the following: for others it is anything finite. q is
// [N, K, G, Q, width], k [N, K, 64 n, width]. On CUDA, with the kernels of
// kernels/cuda/block_log_sum_exp.h, products are never in memory.
at::Tensor BlockLogSumExp(const at::Tensor& q, const at::Tensor& k, int64_t begin);

}  // namespace sieve

#endif  // SIEVE_TRAINER_BLOCK_LOG_SUM_EXP_H_
