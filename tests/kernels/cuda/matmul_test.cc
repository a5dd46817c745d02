#include "kernels/cuda/matmul.h"

#include <cmath>
#include <tuple>

#include "tests/kernels/cuda/device_buffer.h"

namespace sieve::cuda {
namespace {

struct Shape {
  int64_t tokens, outputs, inputs;
};

// y of a product of random matrices, and of its parts.
class Product {
 public:
  Product(DType dtype, Shape shape, uint32_t seed)
      : dtype_(dtype),
        shape_(shape),
        w(RandomValues(shape.outputs * shape.inputs, dtype, seed)),
        x(RandomValues(shape.tokens * shape.inputs, dtype, seed + 1)),
        bias(RandomValues(shape.outputs, DType::kF32, seed + 2)),
        y(RandomValues(shape.tokens * shape.outputs, DType::kF32, seed + 3)),
        device_w_(EncodeWeights(w, dtype, shape.outputs, shape.inputs)),
        device_x_(Encode(x, dtype)),
        device_bias_(bias) {}

  // y for tokens [begin, end).
  std::vector<float> Run(int64_t begin, int64_t end, bool accumulate, bool with_bias) const {
    const std::vector<float> before(y.begin() + begin * shape_.outputs,
                                    y.begin() + end * shape_.outputs);
    const DeviceBuffer<float> device_y(before);
    MatMulParams params;
    params.weights = device_w_.get();
    params.x = device_x_.get() + begin * shape_.inputs * InfoOf(dtype_).bytes;
    params.bias = with_bias ? device_bias_.get() : nullptr;
    params.y = device_y.get();
    params.dtype = dtype_;
    params.num_tokens = end - begin;
    params.outputs = shape_.outputs;
    params.inputs = shape_.inputs;
    params.accumulate = accumulate;
    Check(MatMul(params, nullptr));
    return device_y.Read();
  }

 private:
  const DType dtype_;
  const Shape shape_;

 public:
  const std::vector<float> w, x, bias, y;

 private:
  const DeviceBuffer<char> device_w_, device_x_;
  const DeviceBuffer<float> device_bias_;
};

class CudaMatMulTest : public testing::TestWithParam<std::tuple<DType, Shape>> {};

TEST_P(CudaMatMulTest, IsTheProduct) {
  const auto [dtype, shape] = GetParam();
  const Product product(dtype, shape, 7);
  for (const bool accumulate : {false, true}) {
    for (const bool with_bias : {false, true}) {
      const std::vector<float> got = product.Run(0, shape.tokens, accumulate, with_bias);
      for (int64_t t = 0; t < shape.tokens; ++t) {
        for (int64_t n = 0; n < shape.outputs; ++n) {
          double want = 0, size = 1;
          for (int64_t k = 0; k < shape.inputs; ++k) {
            const double term = static_cast<double>(product.w[n * shape.inputs + k]) *
                                product.x[t * shape.inputs + k];
            want += term;
            size += std::abs(term);
          }
          if (accumulate) want += product.y[t * shape.outputs + n];
          if (with_bias) want += product.bias[n];
          // Tensor cores cut low bits of a running sum, about one unit of it a step.
          ASSERT_NEAR(got[t * shape.outputs + n], want, size * 2e-6) << t << " " << n;
        }
      }
    }
  }
}

TEST_P(CudaMatMulTest, ATokensResultDoesNotDependOnTheOthers) {
  const auto [dtype, shape] = GetParam();
  const Product product(dtype, shape, 8);
  const std::vector<float> together = product.Run(0, shape.tokens, true, true);
  for (int64_t count : {1, 3, 8, 13, 31, 63, 130}) {
    if (count > shape.tokens) break;
    const int64_t begin = (shape.tokens - count) / 2;
    const std::vector<float> some = product.Run(begin, begin + count, true, true);
    ASSERT_EQ(std::memcmp(some.data(), &together[begin * shape.outputs], some.size() * 4), 0)
        << count << " tokens";
  }
}

std::vector<Shape> Shapes() {
  std::vector<Shape> shapes;
  for (int64_t tokens : {1, 7, 8, 9, 16, 17, 33, 64, 65, 257, 300}) {
    shapes.push_back({tokens, 80, 576});
  }
  for (int64_t outputs : {1, 15, 16, 17, 129, 200}) shapes.push_back({5, outputs, 64});
  // Whole and broken steps, and one to three chains.
  for (int64_t inputs : {8, 56, 64, 264, 320, 2048, 4096, 4160, 8192, 9216}) {
    shapes.push_back({3, 48, inputs});
    shapes.push_back({140, 48, inputs});
  }
  return shapes;
}

std::string NameOf(const testing::TestParamInfo<std::tuple<DType, Shape>>& info) {
  const auto& [dtype, shape] = info.param;
  return std::string(InfoOf(dtype).name) + "_" + std::to_string(shape.tokens) + "_" +
         std::to_string(shape.outputs) + "_" + std::to_string(shape.inputs);
}

INSTANTIATE_TEST_SUITE_P(Sweep, CudaMatMulTest,
                         testing::Combine(testing::Values(DType::kBF16, DType::kF16, DType::kF32),
                                          testing::ValuesIn(Shapes())),
                         NameOf);

TEST(CudaMatMulErrors, WhatItDoesNotTake) {
  MatMulParams params;
  params.num_tokens = params.outputs = 1;
  params.inputs = 12;
  EXPECT_EQ(MatMul(params, nullptr), cudaErrorInvalidValue);
  params.inputs = 16;
  params.dtype = DType::kQ4_0;
  EXPECT_EQ(MatMul(params, nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace sieve::cuda
