#include "trainer/evaluate.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/trainer/tiny_model.h"

namespace sieve {
namespace {

TEST(Evaluate, AllBlocksAreDenseAttentionAndFewAreLess) {
  const auto checkpoint = OpenTinyModel({}, /*gguf=*/false);
  const FrozenLlama llama(checkpoint->config(), checkpoint->weights(),
                          at::TensorOptions(at::kFloat));
  AdapterConfig config = TinyAdapterConfig(checkpoint->config());
  const auto layers = LoadLayers(SeededAdapter(config, 3), at::kCPU);
  std::vector<int32_t> tokens(1200);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 7919 % 251);
  const auto found = Evaluate(
      llama, config, layers, tokens,
      {.window = 390, .windows_at_once = 2, .selected_blocks = {100, 0}, .logit_rows = 100});
  ASSERT_TRUE(found.ok()) << found.status();
  const auto& result = *found;
  EXPECT_EQ(result["windows"], 3);
  const auto& all = result["budgets"][0];
  EXPECT_NEAR(all["ratio"].get<double>(), 1, 1e-5);
  EXPECT_NEAR(all["kl"].get<double>(), 0, 1e-5);
  EXPECT_NEAR(all["agreement"].get<double>(), 1, 0.01);
  EXPECT_NEAR(all["density"].get<double>(), 1, 1e-9);
  const auto& none = result["budgets"][1];
  EXPECT_GT(none["kl"].get<double>(), 1e-5);
  EXPECT_LT(none["density"].get<double>(), 0.8);
  EXPECT_EQ(none["dense_perplexity"], all["dense_perplexity"]);
  EXPECT_LE(none["ratio_interval"][0].get<double>(), none["ratio"].get<double>());
  EXPECT_GE(none["ratio_interval"][1].get<double>(), none["ratio"].get<double>());
}

TEST(Evaluate, WholeWindowsAlone) {
  const auto checkpoint = OpenTinyModel({}, /*gguf=*/false);
  const FrozenLlama llama(checkpoint->config(), checkpoint->weights(),
                          at::TensorOptions(at::kFloat));
  const AdapterConfig config = TinyAdapterConfig(checkpoint->config());
  const auto layers = LoadLayers(SeededAdapter(config, 3), at::kCPU);
  const std::vector<int32_t> tokens(99, 1);
  const auto windows = [&](int64_t window) {
    return Evaluate(llama, config, layers, tokens, {.window = window, .selected_blocks = {1}});
  };
  EXPECT_EQ((*windows(50))["windows"], 1);
  EXPECT_EQ((*windows(50))["budgets"][0]["tokens"], 49);
  EXPECT_EQ((*windows(100))["windows"], 0);
  EXPECT_TRUE((*windows(100))["budgets"].empty());
}

}  // namespace
}  // namespace sieve
