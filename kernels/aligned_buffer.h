#ifndef SIEVE_KERNELS_ALIGNED_BUFFER_H_
#define SIEVE_KERNELS_ALIGNED_BUFFER_H_

#include <cstdint>
#include <cstdlib>
#include <memory>

namespace sieve {

// Floats on a 64-byte boundary, uninitialised. Grows, never shrinks; growing forgets the contents.
class AlignedBuffer {
 public:
  // Makes room for `count` floats; false when memory runs out (the old buffer then stays).
  bool Reserve(int64_t count) {
    if (count <= capacity_) return true;
    const size_t bytes = (static_cast<size_t>(count) * sizeof(float) + 63) / 64 * 64;
    void* memory = std::aligned_alloc(64, bytes);
    if (memory == nullptr) return false;
    data_.reset(static_cast<float*>(memory));
    capacity_ = count;
    return true;
  }

  float* data() { return data_.get(); }
  int64_t bytes() const { return capacity_ * static_cast<int64_t>(sizeof(float)); }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float[], Free> data_;
  int64_t capacity_ = 0;
};

}  // namespace sieve

#endif  // SIEVE_KERNELS_ALIGNED_BUFFER_H_
