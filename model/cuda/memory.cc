#include "model/cuda/memory.h"

#include <cuda_runtime_api.h>

#include "absl/strings/str_cat.h"
#include "model/cuda/cuda_status.h"

namespace sieve {
namespace {

// An allocation that fails leaves its error with the runtime too, where the next launch would find
// it and take it for its own.
absl::Status Allocated(cudaError_t error, int64_t bytes, absl::string_view purpose) {
  if (error == cudaSuccess) return absl::OkStatus();
  cudaGetLastError();
  return CudaStatus(error, absl::StrCat("allocating ", bytes, " bytes for ", purpose));
}

}  // namespace

absl::StatusOr<CudaMemory> CudaMemory::Device(int64_t bytes, absl::string_view purpose) {
  if (bytes == 0) return CudaMemory();
  void* data = nullptr;
  const absl::Status status = Allocated(cudaMalloc(&data, bytes), bytes, purpose);
  if (!status.ok()) return status;
  return CudaMemory(static_cast<char*>(data), bytes, false);
}

absl::StatusOr<CudaMemory> CudaMemory::PinnedHost(int64_t bytes, absl::string_view purpose) {
  if (bytes == 0) return CudaMemory();
  void* data = nullptr;
  const absl::Status status = Allocated(cudaMallocHost(&data, bytes), bytes, purpose);
  if (!status.ok()) return status;
  return CudaMemory(static_cast<char*>(data), bytes, true);
}

CudaMemory::~CudaMemory() {
  if (data_ == nullptr) return;
  if (pinned_) {
    cudaFreeHost(data_);
  } else {
    cudaFree(data_);
  }
}

}  // namespace sieve
