#ifndef SIEVE_TESTS_KERNELS_CACHED_SEQUENCE_H_
#define SIEVE_TESTS_KERNELS_CACHED_SEQUENCE_H_

#include <cstdint>
#include <random>
#include <vector>

#include "kernels/paged_attention_params.h"

namespace sieve {

// One sequence of random keys and values in a cache of scattered pages whose unused slots are
// poisoned with NaN.
struct CachedSequence {
  CachedSequence(std::mt19937_64& random, DType dtype, int64_t kv_heads, int64_t head_dim,
                 int64_t length);

  int64_t pages;
  std::vector<int32_t> table;
  std::vector<char> memory;
  PagedKvView view;
};

}  // namespace sieve

#endif  // SIEVE_TESTS_KERNELS_CACHED_SEQUENCE_H_
