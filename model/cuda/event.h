#ifndef SIEVE_MODEL_CUDA_EVENT_H_
#define SIEVE_MODEL_CUDA_EVENT_H_

#include <cuda_runtime_api.h>

#include <utility>

#include "absl/status/statusor.h"
#include "model/cuda/cuda_status.h"

namespace sieve {

// A point in a stream that the host can wait for.
class CudaEvent {
 public:
  static absl::StatusOr<CudaEvent> Create() {
    CudaEvent event;
    SIEVE_RETURN_IF_CUDA(cudaEventCreateWithFlags(&event.event_, cudaEventDisableTiming),
                         "creating an event");
    return event;
  }

  CudaEvent() = default;
  CudaEvent(CudaEvent&& other) noexcept { *this = std::move(other); }
  CudaEvent& operator=(CudaEvent&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  ~CudaEvent() {
    if (event_ != nullptr) cudaEventDestroy(event_);
  }

  cudaError_t Record(cudaStream_t stream) { return cudaEventRecord(event_, stream); }
  cudaError_t Wait() const { return cudaEventSynchronize(event_); }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CUDA_EVENT_H_
