#ifndef SIEVE_MODEL_CUDA_CARVER_H_
#define SIEVE_MODEL_CUDA_CARVER_H_

#include <cstdint>

namespace sieve {

// Cuts a block into aligned arrays. With a null base it only counts.
class Carver {
 public:
  explicit Carver(char* base) : base_(base) {}
  template <typename T>
  T* Take(int64_t count) {
    T* const at = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + bytes_);
    bytes_ += (count * static_cast<int64_t>(sizeof(T)) + 255) / 256 * 256;
    return at;
  }
  int64_t bytes() const { return bytes_; }

 private:
  char* const base_;
  int64_t bytes_ = 0;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CUDA_CARVER_H_
