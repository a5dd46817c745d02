#ifndef SIEVE_TRAINER_RANKS_H_
#define SIEVE_TRAINER_RANKS_H_

#include "absl/status/status.h"
#include "trainer/torch_ops.h"

namespace sieve {

// The processes that train one adapter together. This one stands for a process of its own; see
// ConnectRanks for several. All ranks make the same calls in the same order.
//
// UNAVAILABLE when another rank ended or does not answer in time; nothing can be shared after that.
class Ranks {
 public:
  virtual ~Ranks() = default;

  virtual int rank() const { return 0; }
  virtual int size() const { return 1; }

  // The sum over all ranks, in place, equal on each of them to the last bit. A contiguous tensor of
  // float32 or float64, on the device of this rank or on the CPU.
  virtual absl::Status Sum(const at::Tensor& tensor) {
    (void)tensor;
    return absl::OkStatus();
  }
  // What rank 0 has in it, in place. Likewise.
  virtual absl::Status Share(const at::Tensor& tensor) {
    (void)tensor;
    return absl::OkStatus();
  }
  // Returns when all ranks have called it.
  virtual absl::Status Meet() { return absl::OkStatus(); }
};

}  // namespace sieve

#endif  // SIEVE_TRAINER_RANKS_H_
