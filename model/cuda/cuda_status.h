#ifndef SIEVE_MODEL_CUDA_CUDA_STATUS_H_
#define SIEVE_MODEL_CUDA_CUDA_STATUS_H_

#include <cuda_runtime_api.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace sieve {

// OK, RESOURCE_EXHAUSTED when device memory ran out, else INTERNAL; `what` is what was tried.
inline absl::Status CudaStatus(cudaError_t error, absl::string_view what) {
  if (error == cudaSuccess) return absl::OkStatus();
  const std::string message = absl::StrCat(what, ": ", cudaGetErrorString(error));
  return error == cudaErrorMemoryAllocation ? absl::ResourceExhaustedError(message)
                                            : absl::InternalError(message);
}

// Returns from the function unless `call` succeeds.
#define SIEVE_RETURN_IF_CUDA(call, what)                                      \
  do {                                                                        \
    if (const cudaError_t sieve_error = (call); sieve_error != cudaSuccess) { \
      return ::sieve::CudaStatus(sieve_error, what);                          \
    }                                                                         \
  } while (false)

// Returns the error from a function of launches unless `call` succeeds.
#define SIEVE_TRY_CUDA(call)                                                                    \
  do {                                                                                          \
    if (const cudaError_t sieve_error = (call); sieve_error != cudaSuccess) return sieve_error; \
  } while (false)

}  // namespace sieve

#endif  // SIEVE_MODEL_CUDA_CUDA_STATUS_H_
