#ifndef SIEVE_TRAINER_BACKEND_H_
#define SIEVE_TRAINER_BACKEND_H_

#include <string>

#include "absl/status/statusor.h"
#include "trainer/torch_ops.h"

namespace sieve {

// Where and in what type the model is computed: "cpu" in float32, or "cuda" in bfloat16, for which
// libtorch_cuda is opened, on GPU number `index`, counted round those that this process sees.
// Called before any other use of LibTorch. UNAVAILABLE, with the reason, where there is no such
// device; INVALID_ARGUMENT for another name.
absl::StatusOr<at::TensorOptions> OpenBackend(const std::string& device, int index);

}  // namespace sieve

#endif  // SIEVE_TRAINER_BACKEND_H_
