#ifndef SIEVE_TESTS_KERNELS_CUDA_DEVICE_BUFFER_H_
#define SIEVE_TESTS_KERNELS_CUDA_DEVICE_BUFFER_H_

#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/weight_tiles.h"
#include "kernels/dtype.h"
#include "kernels/float16.h"

namespace sieve::cuda {

inline void Check(cudaError_t error) { ASSERT_EQ(error, cudaSuccess) << cudaGetErrorString(error); }

// Device memory, filled with NaN bytes (0xff) unless it is given values.
template <typename T>
class DeviceBuffer {
 public:
  explicit DeviceBuffer(int64_t size) : size_(size) {
    Check(cudaMalloc(reinterpret_cast<void**>(&data_), size * sizeof(T)));
    Check(cudaMemset(data_, 0xff, size * sizeof(T)));
  }
  explicit DeviceBuffer(const std::vector<T>& values) : DeviceBuffer(values.size()) {
    Check(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~DeviceBuffer() { cudaFree(data_); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  T* get() const { return data_; }
  std::vector<T> Read() const {
    std::vector<T> values(size_);
    Check(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  int64_t size_;
  T* data_ = nullptr;
};

// Values of a 16- or 32-bit type as bytes, and back.
inline std::vector<char> Encode(const std::vector<float>& values, DType dtype) {
  std::vector<char> out(values.size() * InfoOf(dtype).bytes);
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t half =
        dtype == DType::kF16 ? FloatToHalf(values[i]) : FloatToBFloat16(values[i]);
    if (dtype == DType::kF32) {
      std::memcpy(&out[4 * i], &values[i], 4);
    } else {
      std::memcpy(&out[2 * i], &half, 2);
    }
  }
  return out;
}

inline std::vector<float> Decode(const std::vector<char>& bytes, DType dtype) {
  std::vector<float> out(bytes.size() / InfoOf(dtype).bytes);
  for (size_t i = 0; i < out.size(); ++i) {
    uint16_t half;
    if (dtype == DType::kF32) {
      std::memcpy(&out[i], &bytes[4 * i], 4);
      continue;
    }
    std::memcpy(&half, &bytes[2 * i], 2);
    out[i] = dtype == DType::kF16 ? HalfToFloat(half) : BFloat16ToFloat(half);
  }
  return out;
}

// A matrix [outputs, inputs] as kernels want its weights: 16 bits in weight_tiles.h's order.
inline std::vector<char> EncodeWeights(const std::vector<float>& values, DType dtype,
                                       int64_t outputs, int64_t inputs) {
  if (dtype == DType::kF32) return Encode(values, dtype);
  std::vector<float> tiled(TiledElements(outputs, inputs));
  for (int64_t n = 0; n < outputs; ++n) {
    for (int64_t k = 0; k < inputs; ++k) {
      tiled[TiledOffset(n, k, inputs)] = values[n * inputs + k];
    }
  }
  return Encode(tiled, dtype);
}

// Normally distributed values that `dtype` holds exactly.
inline std::vector<float> RandomValues(int64_t size, DType dtype, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(size);
  for (float& value : values) value = normal(random);
  return Decode(Encode(values, dtype), dtype);
}

// The relative precision of what `dtype` stores.
inline double Epsilon(DType dtype) {
  return dtype == DType::kBF16 ? 0x1p-8 : dtype == DType::kF16 ? 0x1p-11 : 0x1p-23;
}

}  // namespace sieve::cuda

#endif  // SIEVE_TESTS_KERNELS_CUDA_DEVICE_BUFFER_H_
