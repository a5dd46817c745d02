#ifndef SIEVE_TRAINER_LOGIT_KL_H_
#define SIEVE_TRAINER_LOGIT_KL_H_

#include <cstdint>

#include "trainer/llama.h"
#include "trainer/torch_ops.h"

namespace sieve {

// The mean over tokens of KL(teacher || student) of the next token's distribution, a float32
// scalar, of the last hidden states [..., hidden]. Its gradient, to the student alone, is computed
// with it, for a softmax's is at hand: the logits of `rows` tokens are in memory at a time, once.
at::Tensor LogitKl(const FrozenLlama& llama, const at::Tensor& teacher, const at::Tensor& student,
                   int64_t rows);

}  // namespace sieve

#endif  // SIEVE_TRAINER_LOGIT_KL_H_
