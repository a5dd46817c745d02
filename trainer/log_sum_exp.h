#ifndef SIEVE_TRAINER_LOG_SUM_EXP_H_
#define SIEVE_TRAINER_LOG_SUM_EXP_H_

#include "trainer/torch_ops.h"

namespace sieve {

// Over the last axis, of finite numbers that are not needed any more and have no gradient: at half
// of at::logsumexp's reads and writes, which are the cost of the largest tensors there are.
inline at::Tensor LogSumExpInPlace(const at::Tensor& x) {
  const at::Tensor top = x.amax(-1, /*keepdim=*/true);
  return x.sub_(top).exp_().sum(-1).log_().add_(top.squeeze(-1));
}

}  // namespace sieve

#endif  // SIEVE_TRAINER_LOG_SUM_EXP_H_
