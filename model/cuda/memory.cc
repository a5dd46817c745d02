#include "model/cuda/memory.h"

#include <cuda_runtime_api.h>

#include "absl/strings/str_cat.h"
#include "model/cuda/cuda_status.h"

namespace sieve {
namespace {

std::string What(int64_t bytes, absl::string_view purpose) {
  return absl::StrCat("allocating ", bytes, " bytes for ", purpose);
}

}  // namespace

absl::StatusOr<CudaMemory> CudaMemory::Device(int64_t bytes, absl::string_view purpose) {
  if (bytes == 0) return CudaMemory();
  void* data = nullptr;
  SIEVE_RETURN_IF_CUDA(cudaMalloc(&data, bytes), What(bytes, purpose));
  return CudaMemory(static_cast<char*>(data), bytes, false);
}

absl::StatusOr<CudaMemory> CudaMemory::PinnedHost(int64_t bytes, absl::string_view purpose) {
  if (bytes == 0) return CudaMemory();
  void* data = nullptr;
  SIEVE_RETURN_IF_CUDA(cudaMallocHost(&data, bytes), What(bytes, purpose));
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
