#ifndef SIEVE_TRAINER_RECOMPUTED_H_
#define SIEVE_TRAINER_RECOMPUTED_H_

#include <functional>
#include <vector>

#include "trainer/torch_ops.h"

namespace sieve {

using Tensors = std::vector<at::Tensor>;

// function(inputs), of which only the inputs are kept for the backward pass: it is evaluated again
// there (gradient checkpointing). Tensors that it uses otherwise get no gradient.
Tensors Recomputed(std::function<Tensors(const Tensors&)> function, const Tensors& inputs);

}  // namespace sieve

#endif  // SIEVE_TRAINER_RECOMPUTED_H_
