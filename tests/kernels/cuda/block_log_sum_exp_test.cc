#include "kernels/cuda/block_log_sum_exp.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "kernels/block_log_sum_exp.h"
#include "tests/kernels/cuda/device_buffer.h"

namespace sieve::cuda {
namespace {

struct Case {
  std::string name;
  BlockLogSumExpShape shape;
};

class CudaBlockLogSumExpTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const BlockLogSumExpShape& s = GetParam().shape;
    q_ = RandomValues(s.batch * s.rows * s.width, DType::kF32, 1);
    k_ = RandomValues(s.batch * s.blocks * 64 * s.width, DType::kF32, 2);
    // As large as logits may be: sums that are not led by their largest would overflow.
    for (float& x : q_) x *= 20;
  }

  static BlockLogSumExpParams Params(const float* q, const float* k, float* out) {
    const BlockLogSumExpShape& s = GetParam().shape;
    return {q, k, out, s.batch, s.rows, s.positions, s.begin, s.blocks, s.width};
  }

  std::vector<float> q_, k_;
};

void ExpectNear(const std::vector<float>& got, const std::vector<double>& want, double error) {
  ASSERT_EQ(got.size(), want.size());
  double most = 1;
  for (const double x : want) most = std::max(most, std::abs(x));
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], error * most) << "at " << i;
}

TEST_P(CudaBlockLogSumExpTest, IsTheSpecification) {
  const BlockLogSumExpShape& s = GetParam().shape;
  const DeviceBuffer<float> q(q_), k(k_), out(s.batch * s.rows * s.blocks);
  Check(BlockLogSumExp(Params(q.get(), k.get(), out.get()), nullptr));
  ExpectNear(out.Read(), BlockLogSumExpReference(s, q_.data(), k_.data()), 1e-5);
}

TEST_P(CudaBlockLogSumExpTest, GradientsAreTheSpecifications) {
  const BlockLogSumExpShape& s = GetParam().shape;
  if (!BlockLogSumExpGradientSupports(s.width)) GTEST_SKIP() << "no gradient of this width";
  std::vector<float> gradient = RandomValues(s.batch * s.rows * s.blocks, DType::kF32, 3);
  for (size_t i = 0; i < gradient.size(); i += 3) gradient[i] = 0;
  const DeviceBuffer<float> q(q_), k(k_), out(gradient.size()), device_gradient(gradient);
  const DeviceBuffer<float> q_gradient(q_.size()), k_gradient(k_.size());
  const BlockLogSumExpParams params = Params(q.get(), k.get(), out.get());
  Check(BlockLogSumExp(params, nullptr));
  Check(BlockLogSumExpGradient({params, device_gradient.get(), q_gradient.get(), k_gradient.get()},
                               nullptr));
  std::vector<double> want_q(q_.size()), want_k(k_.size());
  BlockLogSumExpGradientReference(s, q_.data(), k_.data(), gradient.data(), want_q.data(),
                                  want_k.data());
  ExpectNear(q_gradient.Read(), want_q, 5e-5);
  ExpectNear(k_gradient.Read(), want_k, 5e-5);
}

TEST(CudaBlockLogSumExpGradientTest, IsZeroWhereThereIsNothingToSum) {
  for (const auto& [rows, blocks] : {std::pair<int64_t, int64_t>{3, 0}, {0, 2}}) {
    const int64_t width = 16, batch = 2;
    // With floats that are not theirs, for buffers are not empty.
    const DeviceBuffer<float> q_gradient(batch * rows * width + 1);
    const DeviceBuffer<float> k_gradient(batch * blocks * 64 * width + 1);
    Check(BlockLogSumExpGradient({{.batch = batch,
                                   .rows = rows,
                                   .positions = rows,
                                   .begin = 0,
                                   .blocks = blocks,
                                   .width = width},
                                  nullptr,
                                  q_gradient.get(),
                                  k_gradient.get()},
                                 nullptr));
    for (const DeviceBuffer<float>* gradient : {&q_gradient, &k_gradient}) {
      std::vector<float> got = gradient->Read();
      EXPECT_TRUE(std::isnan(got.back()));
      got.pop_back();
      EXPECT_EQ(got, std::vector<float>(got.size()));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, CudaBlockLogSumExpTest,
                         testing::Values(Case{"Index", {2, 3 * 192, 192, 64, 3, 16}},
                                         Case{"Narrow", {1, 2 * 70, 70, 192, 4, 8}},
                                         Case{"Wide", {3, 1 * 130, 130, 0, 2, 32}},
                                         Case{"Heads64", {2, 3 * 128, 128, 128, 3, 64}},
                                         Case{"Heads128", {1, 4 * 100, 100, 64, 2, 128}},
                                         Case{"OneRow", {1, 1, 1, 64, 1, 16}},
                                         Case{"NoneBefore", {1, 64, 64, 0, 1, 16}},
                                         Case{"ManyBlocks", {1, 2 * 65, 65, 64 * 37, 37, 16}}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace sieve::cuda
