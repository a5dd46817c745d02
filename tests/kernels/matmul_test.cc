#include "kernels/matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <tuple>

#include "kernels/aligned_buffer.h"
#include "kernels/cpu_features.h"
#include "tests/kernels/random_data.h"

namespace sieve {
namespace {

constexpr DType kAllTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ8_0,
                               DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                               DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

struct Problem {
  Problem(std::mt19937_64& random, DType dtype, int64_t rows, int64_t cols, int64_t tokens)
      : weights(RandomWeights(random, dtype, rows, cols)),
        x(RandomFloats(random, tokens * (cols + 3))),
        y(tokens * (rows + 5), std::numeric_limits<float>::quiet_NaN()) {
    params = {.weights = {weights.data(), dtype, rows, cols},
              .x = x.data(),
              .x_stride = cols + 3,
              .tokens = tokens,
              .y = y.data(),
              .y_stride = rows + 5,
              .row_end = rows};
    EXPECT_TRUE(scratch.Reserve(MatMulScratchFloats(cols)));
  }
  // [tokens, rows] without the padding.
  std::vector<float> Output() const {
    std::vector<float> out;
    for (int64_t t = 0; t < params.tokens; ++t) {
      const float* row = y.data() + t * params.y_stride;
      out.insert(out.end(), row, row + params.weights.rows);
    }
    return out;
  }
  std::vector<uint8_t> weights;
  std::vector<float> x, y;
  AlignedBuffer scratch;
  MatMulParams params;
};

class MatMulTest : public testing::TestWithParam<DType> {};

INSTANTIATE_TEST_SUITE_P(Types, MatMulTest, testing::ValuesIn(kAllTypes),
                         [](const auto& info) { return InfoOf(info.param).name; });

TEST_P(MatMulTest, AgreesWithTheSpecification) {
  std::mt19937_64 random(TestSeed());
  const int64_t block = InfoOf(GetParam()).elements;
  for (int64_t cols : block == 1 ? std::vector<int64_t>{1, 7, 8, 31, 64, 80, 577}
                                 : std::vector<int64_t>{block, 3 * block}) {
    for (int64_t rows : {1, 3, 4, 9, 64}) {
      for (int64_t tokens : {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 130}) {
        Problem p(random, GetParam(), rows, cols, tokens);
        MatMul(p.params, p.scratch.data());
        const std::vector<float> got = p.Output();
        MatMulReference(p.params, p.scratch.data());
        EXPECT_LT(RelativeError(got, p.Output()), 2e-5)
            << rows << " x " << cols << ", " << tokens << " tokens";
      }
    }
  }
}

// The promise that batching, chunking and preemption rest on: to the last bit.
TEST_P(MatMulTest, ATokensResultDoesNotDependOnItsCompany) {
  if (!HasAvx2()) GTEST_SKIP() << "one code path only";
  std::mt19937_64 random(TestSeed());
  const int64_t cols = std::max<int64_t>(InfoOf(GetParam()).elements, 96) * 2, rows = 23;
  Problem all(random, GetParam(), rows, cols, 67);
  MatMul(all.params, all.scratch.data());
  const std::vector<float> together = all.Output();
  for (int64_t tokens : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 50}) {
    for (int64_t first : {0, 5, 17}) {
      std::vector<float> y(tokens * rows);
      MatMulParams part = all.params;
      part.x += first * part.x_stride;
      part.tokens = tokens;
      part.y = y.data();
      part.y_stride = rows;
      for (int64_t cut : {0, 1, 6, 23}) {  // rows are shared among threads anywhere
        part.row_begin = 0, part.row_end = cut;
        MatMul(part, all.scratch.data());
        part.row_begin = cut, part.row_end = rows;
        MatMul(part, all.scratch.data());
        for (int64_t i = 0; i < tokens * rows; ++i) ASSERT_EQ(y[i], together[first * rows + i]);
      }
    }
  }
}

TEST(MatMul, BiasAndAccumulation) {
  std::mt19937_64 random(TestSeed());
  for (int64_t tokens : {1, 20}) {
    Problem p(random, DType::kF32, 6, 40, tokens);
    const std::vector<float> bias = RandomFloats(random, 6);
    MatMul(p.params, p.scratch.data());
    const std::vector<float> plain = p.Output();
    p.params.bias = bias.data();
    MatMul(p.params, p.scratch.data());
    const std::vector<float> biased = p.Output();
    p.params.accumulate = true;
    MatMul(p.params, p.scratch.data());
    const std::vector<float> twice = p.Output();
    for (size_t i = 0; i < plain.size(); ++i) {
      EXPECT_FLOAT_EQ(biased[i], plain[i] + bias[i % 6]);
      EXPECT_FLOAT_EQ(twice[i], 2 * biased[i]);
    }
  }
}

TEST(MatMul, NanStaysInItsToken) {
  std::mt19937_64 random(TestSeed());
  Problem p(random, DType::kQ4_1, 8, 64, 12);
  p.x[5 * p.params.x_stride + 9] = std::numeric_limits<float>::quiet_NaN();
  MatMul(p.params, p.scratch.data());
  const std::vector<float> y = p.Output();
  for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i / 8 == 5);
}

}  // namespace
}  // namespace sieve
