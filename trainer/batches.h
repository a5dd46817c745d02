#ifndef SIEVE_TRAINER_BATCHES_H_
#define SIEVE_TRAINER_BATCHES_H_

#include <cstdint>

#include "absl/types/span.h"
#include "trainer/torch_ops.h"

namespace sieve {

// Sequences of `length` tokens that begin at `begins`, int64 [sequences, length] on a device.
at::Tensor MakeBatch(absl::Span<const int32_t> tokens, absl::Span<const int64_t> begins,
                     int64_t length, at::Device device);

}  // namespace sieve

#endif  // SIEVE_TRAINER_BATCHES_H_
