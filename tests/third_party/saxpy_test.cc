#include "tests/third_party/saxpy.h"

#include <vector>

#include "cuda_runtime_api.h"
#include "gtest/gtest.h"

namespace sieve {
namespace {

// Device memory with a copy of some numbers.
class DeviceCopy {
 public:
  explicit DeviceCopy(const std::vector<float>& values) : size_(values.size() * sizeof(float)) {
    EXPECT_EQ(cudaMalloc(&data_, size_), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data_, values.data(), size_, cudaMemcpyHostToDevice), cudaSuccess);
  }
  ~DeviceCopy() { cudaFree(data_); }
  DeviceCopy(const DeviceCopy&) = delete;
  DeviceCopy& operator=(const DeviceCopy&) = delete;

  float* data() const { return static_cast<float*>(data_); }
  std::vector<float> Read() const {
    std::vector<float> values(size_ / sizeof(float));
    EXPECT_EQ(cudaMemcpy(values.data(), data_, size_, cudaMemcpyDeviceToHost), cudaSuccess);
    return values;
  }

 private:
  size_t size_;
  void* data_ = nullptr;
};

class SaxpyTest : public testing::TestWithParam<int> {};

TEST_P(SaxpyTest, AddsAMultiple) {
  const int n = GetParam();
  std::vector<float> x(n), y(n), expected(n);
  for (int i = 0; i < n; ++i) {
    x[i] = i;
    y[i] = 2 * i + 1;
    expected[i] = 5 * i + 1;
  }
  const DeviceCopy device_x(x), device_y(y);
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  EXPECT_EQ(Saxpy(n, 3, device_x.data(), device_y.data(), stream), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  EXPECT_EQ(device_y.Read(), expected);
}

INSTANTIATE_TEST_SUITE_P(Sizes, SaxpyTest, testing::Values(1, 255, 256, 257, 100000));

}  // namespace
}  // namespace sieve
