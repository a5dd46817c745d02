#ifndef SIEVE_TRAINER_NCCL_H_
#define SIEVE_TRAINER_NCCL_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "trainer/torch_ops.h"

namespace sieve {

// NCCL, the library that libtorch_cuda has opened. Its C interface is called, which is the same in
// every 2.x: c10d's own class for it needs CUDA's headers to compile and libtorch_cuda to link, and
// the program is one for machines with and without a GPU.
class Nccl {
 public:
  virtual ~Nccl() = default;

  // What rank 0 makes and all give to Connect. UNAVAILABLE without the library.
  static absl::StatusOr<std::string> MakeId();
  // Returns when all ranks have called it. UNAVAILABLE when they do not become a group.
  static absl::StatusOr<std::unique_ptr<Nccl>> Connect(const std::string& id, int rank, int ranks,
                                                       at::Device device, absl::Duration timeout);

  // See Ranks. float32 or float64 on this rank's device.
  virtual absl::Status Sum(const at::Tensor& tensor) = 0;
  virtual absl::Status Share(const at::Tensor& tensor) = 0;
};

}  // namespace sieve

#endif  // SIEVE_TRAINER_NCCL_H_
