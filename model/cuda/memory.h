#ifndef SIEVE_MODEL_CUDA_MEMORY_H_
#define SIEVE_MODEL_CUDA_MEMORY_H_

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"

namespace sieve {

// A block of device memory, or of page-locked host memory that the device can read at full speed;
// 256-byte aligned.
class CudaMemory {
 public:
  // RESOURCE_EXHAUSTED, naming the bytes and `purpose`, when there is no room. Zero bytes: an empty
  // block.
  static absl::StatusOr<CudaMemory> Device(int64_t bytes, absl::string_view purpose);
  static absl::StatusOr<CudaMemory> PinnedHost(int64_t bytes, absl::string_view purpose);

  CudaMemory() = default;
  CudaMemory(CudaMemory&& other) noexcept { *this = std::move(other); }
  CudaMemory& operator=(CudaMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(pinned_, other.pinned_);
    return *this;
  }
  ~CudaMemory();

  char* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  CudaMemory(char* data, int64_t bytes, bool pinned)
      : data_(data), bytes_(bytes), pinned_(pinned) {}

  char* data_ = nullptr;
  int64_t bytes_ = 0;
  bool pinned_ = false;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CUDA_MEMORY_H_
