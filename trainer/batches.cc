#include "trainer/batches.h"

#include <algorithm>

namespace sieve {

at::Tensor MakeBatch(absl::Span<const int32_t> tokens, absl::Span<const int64_t> begins,
                     int64_t length, at::Device device) {
  at::Tensor batch = at::empty({static_cast<int64_t>(begins.size()), length}, at::kLong);
  int64_t* out = batch.data_ptr<int64_t>();
  for (const int64_t begin : begins) {
    out = std::copy_n(tokens.begin() + begin, length, out);
  }
  return batch.to(device);
}

}  // namespace sieve
