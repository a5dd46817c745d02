#include "server/model_info.h"

#include "gtest/gtest.h"
#include "tests/server/test_tokenizer.h"

namespace sieve {
namespace {

class ModelInfoTest : public testing::Test {
 protected:
  TensorView Matrix(DType dtype, int64_t rows, int64_t cols) const {
    return {.data = &memory_[next_++], .dtype = dtype, .rows = rows, .cols = cols};
  }

  ModelInfo Describe(const LlamaWeights& weights) const {
    return DescribeModel(ModelConfig{}, weights, CacheGeometry{}, *tokenizer_);
  }

  const std::unique_ptr<Tokenizer> tokenizer_ = MakeTestTokenizer();
  const char memory_[16] = {};  // only its addresses matter
  mutable int next_ = 0;
};

TEST_F(ModelInfoTest, CountsParametersOnceAndNamesTheirMostCommonType) {
  LlamaWeights weights;
  weights.embedding = Matrix(DType::kQ8_0, 10, 32);
  weights.final_norm = Matrix(DType::kF32, 1, 32);
  weights.head = weights.embedding;
  weights.layers.resize(2);
  weights.layers[0].q = Matrix(DType::kQ4_1, 6, 32);
  weights.layers[1].down_bias = Matrix(DType::kQ4_1, 5, 32);  // 11 rows against 10
  ModelInfo info = Describe(weights);
  EXPECT_EQ(info.parameters, (10 + 1 + 6 + 5) * 32);
  EXPECT_EQ(info.weight_bytes, 10 * 34 + 32 * 4 + 11 * 20);
  EXPECT_EQ(info.weight_type, "q4_1");

  weights.head = Matrix(DType::kQ8_0, 10, 32);  // not tied
  info = Describe(weights);
  EXPECT_EQ(info.parameters, (10 + 1 + 6 + 5 + 10) * 32);
  EXPECT_EQ(info.weight_type, "q8_0");
}

TEST_F(ModelInfoTest, TellsTheTokenizer) {
  const ModelInfo info = Describe(LlamaWeights{});
  EXPECT_EQ(info.pre_tokenizer, "gpt2");
  EXPECT_EQ(info.bos, kTestBos);
  EXPECT_EQ(info.eos, std::vector<int32_t>{kTestEos});
  EXPECT_EQ(info.chat_format, "");
}

}  // namespace
}  // namespace sieve
