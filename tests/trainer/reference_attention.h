#ifndef SIEVE_TESTS_TRAINER_REFERENCE_ATTENTION_H_
#define SIEVE_TESTS_TRAINER_REFERENCE_ATTENTION_H_

#include <cstdint>
#include <vector>

#include "model/adapter/adapter.h"

namespace sieve {

// One sequence of T tokens, row-major doubles.
struct ReferenceInputs {
  int64_t tokens = 0;
  std::vector<double> x;                  // [T, hidden]
  std::vector<double> q, unrotated_q;     // [T, num_heads, head_dim]
  std::vector<double> k, v, unrotated_k;  // [T, num_kv_heads, head_dim]
  std::vector<double> frequencies;        // [head_dim / 2], of pairs (i, i + head_dim / 2)
};

// docs/adapters.md, word for word, in loops over doubles: [T, num_heads, head_dim]. What a token
// reads of the choice is in `selected`: [T, num_kv_heads] lists of blocks.
std::vector<double> ReferenceAttention(const AdapterConfig& config, const AdapterLayer& layer,
                                       const ReferenceInputs& inputs,
                                       std::vector<std::vector<int64_t>>* selected);

}  // namespace sieve

#endif  // SIEVE_TESTS_TRAINER_REFERENCE_ATTENTION_H_
