#include "tests/kernels/cached_sequence.h"

#include <algorithm>
#include <numeric>

#include "kernels/paged_attention.h"
#include "tests/kernels/random_data.h"

namespace sieve {

CachedSequence::CachedSequence(std::mt19937_64& random, DType dtype, int64_t kv_heads,
                               int64_t head_dim, int64_t length)
    : pages(length / 64 + 3), table(pages) {
  const int64_t head = 2 * 64 * RowBytes(dtype, head_dim);
  memory.assign(pages * kv_heads * head, static_cast<char>(0xff));
  view = {memory.data(), kv_heads * head, head, dtype, head_dim};
  std::iota(table.begin(), table.end(), 0);
  std::shuffle(table.begin(), table.end(), random);
  for (int64_t t = 0; t < length; ++t) {
    for (int64_t h = 0; h < kv_heads; ++h) {
      const std::vector<float> k = RandomFloats(random, head_dim);
      const std::vector<float> v = RandomFloats(random, head_dim);
      WriteKv(view, table[t / 64], h, t % 64, k.data(), v.data());
    }
  }
}

}  // namespace sieve
