#include "trainer/llama.h"

#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "model/transformer.h"
#include "tests/kernels/random_data.h"
#include "tests/trainer/tiny_model.h"

namespace sieve {
namespace {

constexpr int64_t kTokens = 130;

std::vector<float> EngineLogits(const Checkpoint& checkpoint, const std::vector<int32_t>& tokens) {
  auto model = Transformer::Create(checkpoint.config(), checkpoint.weights(),
                                   {.cache_pages = 8, .cache_dtype = DType::kF32});
  EXPECT_TRUE(model.ok()) << model.status();
  std::vector<int32_t> positions(tokens.size()), pages(8);
  std::iota(positions.begin(), positions.end(), 0);
  std::iota(pages.begin(), pages.end(), 0);
  const std::vector<int32_t> offsets = {0, static_cast<int32_t>(tokens.size())};
  std::vector<float> logits(tokens.size() * checkpoint.config().vocabulary_size);
  const absl::Status status = (*model)->Forward({.tokens = tokens,
                                                 .positions = positions,
                                                 .offsets = offsets,
                                                 .block_tables = pages,
                                                 .block_table_stride = 8,
                                                 .logit_rows = positions},
                                                absl::MakeSpan(logits));
  EXPECT_TRUE(status.ok()) << status;
  return logits;
}

std::vector<float> TorchLogits(const Checkpoint& checkpoint, const std::vector<int32_t>& tokens) {
  c10::NoGradGuard none;
  const FrozenLlama llama(checkpoint.config(), checkpoint.weights(), at::TensorOptions(at::kFloat));
  std::vector<int64_t> ids(tokens.begin(), tokens.end());
  at::Tensor hidden = llama.Embed(at::from_blob(ids.data(), {1, static_cast<int64_t>(ids.size())},
                                                at::TensorOptions(at::kLong)));
  for (int64_t l = 0; l < checkpoint.config().num_layers; ++l) {
    hidden = hidden + llama.MergeHeads(l, DenseAttention(llama.Project(l, hidden)));
    hidden = hidden + llama.FeedForward(l, hidden);
  }
  const at::Tensor logits = llama.Logits(hidden).contiguous();
  return {logits.data_ptr<float>(), logits.data_ptr<float>() + logits.numel()};
}

struct Case {
  const char* name;
  bool gguf;
  TinyLlamaSpec spec;
};

class FrozenLlamaTest : public testing::TestWithParam<Case> {};

TEST_P(FrozenLlamaTest, ItsLogitsAreTheEngines) {
  const auto checkpoint = OpenTinyModel(GetParam().spec, GetParam().gguf);
  std::mt19937_64 random(TestSeed());
  std::vector<int32_t> tokens(kTokens);
  for (int32_t& token : tokens) {
    token = static_cast<int32_t>(random() % checkpoint->config().vocabulary_size);
  }
  EXPECT_LT(RelativeError(TorchLogits(*checkpoint, tokens), EngineLogits(*checkpoint, tokens)),
            2e-4);
}

TinyLlamaSpec With(DType dtype, bool tied, bool biases, RopeScaling::Kind scaling) {
  TinyLlamaSpec spec;
  spec.dtype = dtype;
  spec.tied = tied;
  spec.attention_bias = spec.mlp_bias = biases;
  if (scaling == RopeScaling::Kind::kLlama3) {
    spec.rope_scaling = {scaling, 8, 1, 4, 64};
  }
  return spec;
}

INSTANTIATE_TEST_SUITE_P(
    Formats, FrozenLlamaTest,
    testing::Values(Case{"Folder", false, With(DType::kF32, true, false, RopeScaling::Kind::kNone)},
                    Case{"FolderWithBiases", false,
                         With(DType::kBF16, false, true, RopeScaling::Kind::kLlama3)},
                    Case{"Gguf", true, With(DType::kF32, true, false, RopeScaling::Kind::kNone)},
                    Case{"QuantisedGguf", true,
                         With(DType::kQ4_1, false, false, RopeScaling::Kind::kLlama3)}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace sieve
