#include "trainer/calibrate.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/trainer/tiny_model.h"
#include "trainer/distill.h"

namespace sieve {
namespace {

class CalibrateTest : public testing::Test {
 protected:
  CalibrateTest()
      : checkpoint_(OpenTinyModel({}, /*gguf=*/false)),
        llama_(checkpoint_->config(), checkpoint_->weights(), at::TensorOptions(at::kFloat)),
        config_(TinyAdapterConfig(checkpoint_->config())),
        tokens_((at::arange(450, at::TensorOptions(at::kLong)) * 7919 % 251).unsqueeze(0)) {}

  std::unique_ptr<Checkpoint> checkpoint_;
  FrozenLlama llama_;
  AdapterConfig config_;
  at::Tensor tokens_;
};

TEST_F(CalibrateTest, AnIndexOfFullRankIsExact) {
  config_.index_rank = config_.head_dim;
  const std::vector<LayerTensors> layers = Calibrate(llama_, config_, {tokens_}, {});
  for (const LayerTensors& layer : layers) {
    const at::Tensor product =
        at::matmul(layer.at("index.q"), layer.at("index.k").transpose(-1, -2));
    const at::Tensor error = product - at::eye(config_.head_dim, product.options());
    EXPECT_LT(error.abs().max().item<double>(), 1e-3);
  }
}

// What is lost is less than what the mean of a block loses.
TEST_F(CalibrateTest, ALowRankChoosesBetterThanTheMean) {
  config_.tail = false;
  config_.index_bits = 16;
  const std::vector<LayerTensors> layers = Calibrate(llama_, config_, {tokens_}, {});
  const DistillOptions one = {.selected_blocks = 1, .selector_weight = 0};
  const double index = DistillLayers(llama_, config_, layers, tokens_, one).output;
  config_.selector = Selector::kOracle;
  const double oracle = DistillLayers(llama_, config_, layers, tokens_, one).output;
  config_.selector = Selector::kMean;
  const double mean = DistillLayers(llama_, config_, layers, tokens_, one).output;
  EXPECT_LT(index, mean);
  EXPECT_LE(oracle, 1.05 * index);
}

TEST_F(CalibrateTest, TheTiltIsTheMeanQuery) {
  const std::vector<LayerTensors> layers = Calibrate(llama_, config_, {tokens_}, {.tail_bias = -3});
  const c10::NoGradGuard no_gradients;
  const at::Tensor q = llama_.Project(0, llama_.Embed(tokens_)).q;  // [1, H, T, d]
  const at::Tensor mean = q.unflatten(1, {config_.num_kv_heads, -1}).mean(at::IntArrayRef{0, 2, 3});
  EXPECT_LT((layers[0].at("compress.tilt") - 1.5 * mean).abs().max().item<double>(), 1e-5);
  EXPECT_EQ(layers[0].at("combine.bias").min().item<double>(), -3);
  EXPECT_EQ(layers[0].at("combine.weight").abs().max().item<double>(), 0);
}

}  // namespace
}  // namespace sieve
