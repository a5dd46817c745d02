#include "trainer/distill.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "model/transformer.h"
#include "tests/kernels/random_data.h"
#include "tests/trainer/tiny_model.h"

namespace sieve {
namespace {

constexpr int64_t kTokens = 450;

std::vector<int32_t> RandomTokens(int64_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % kTinyTokens);
  return tokens;
}

at::Tensor AsBatch(const std::vector<int32_t>& tokens) {
  std::vector<int64_t> ids(tokens.begin(), tokens.end());
  const int64_t count = static_cast<int64_t>(ids.size());
  return at::from_blob(ids.data(), {1, count}, at::TensorOptions(at::kLong)).clone();
}

// The server's way: a prompt in one step over a float32 cache.
std::vector<float> EngineLogits(const Checkpoint& checkpoint, const Adapter& adapter,
                                const std::vector<int32_t>& tokens) {
  constexpr int64_t kPages = 16;
  auto model = Transformer::Create(
      checkpoint.config(), checkpoint.weights(),
      {.cache_pages = kPages, .cache_dtype = DType::kF32, .summary_bytes = 1 << 14});
  EXPECT_TRUE(model.ok()) << model.status();
  const absl::Status set = (*model)->SetAdapter(0, std::make_shared<Adapter>(adapter));
  EXPECT_TRUE(set.ok()) << set;
  std::vector<int32_t> positions(tokens.size()), pages(kPages);
  std::iota(positions.begin(), positions.end(), 0);
  std::iota(pages.begin(), pages.end(), 0);
  const std::vector<int32_t> offsets = {0, static_cast<int32_t>(tokens.size())};
  const std::vector<int32_t> slots = {0}, prompts = {offsets[1]};
  std::vector<float> logits(tokens.size() * checkpoint.config().vocabulary_size);
  const absl::Status status = (*model)->Forward({.tokens = tokens,
                                                 .positions = positions,
                                                 .offsets = offsets,
                                                 .block_tables = pages,
                                                 .block_table_stride = kPages,
                                                 .logit_rows = positions,
                                                 .adapters = slots,
                                                 .prompt_tokens = prompts},
                                                absl::MakeSpan(logits));
  EXPECT_TRUE(status.ok()) << status;
  return logits;
}

struct Case {
  std::string name;
  Selector selector;
  int64_t query_tile = 1;
  bool tail = true;
  Compression keys = Compression::kTilted, values = Compression::kTilted;
  Combiner combiner = Combiner::kLogSumExp;
  bool branch_biases = false;
};

class EngineParityTest : public testing::TestWithParam<Case> {};

TEST_P(EngineParityTest, TheServersLogits) {
  const c10::NoGradGuard no_gradients;
  TinyLlamaSpec spec;
  spec.num_layers = 3;
  const auto checkpoint = OpenTinyModel(spec, /*gguf=*/true);
  AdapterConfig config = TinyAdapterConfig(checkpoint->config());
  config.selector = GetParam().selector;
  config.query_tile = GetParam().query_tile;
  config.tail = GetParam().tail;
  config.key_compression = GetParam().keys;
  config.value_compression = GetParam().values;
  config.combiner = GetParam().combiner;
  config.branch_biases = GetParam().branch_biases;
  config.compression_block = 16;
  config.dense_layers = {1};
  const Adapter adapter = SeededAdapter(config, 3);
  const FrozenLlama llama(checkpoint->config(), checkpoint->weights(),
                          at::TensorOptions(at::kFloat));
  const std::vector<int32_t> tokens = RandomTokens(kTokens, 5);
  const SparseHiddenResult result =
      SparseHidden(llama, config, LoadLayers(adapter, at::kCPU), AsBatch(tokens),
                   {.selected_blocks = config.selected_blocks});
  const at::Tensor logits = llama.Logits(result.hidden).contiguous();
  const std::vector<float> found(logits.data_ptr<float>(),
                                 logits.data_ptr<float>() + logits.numel());
  EXPECT_LT(RelativeError(found, EngineLogits(*checkpoint, adapter, tokens)), 2e-4);
}

INSTANTIATE_TEST_SUITE_P(
    Options, EngineParityTest,
    testing::Values(Case{"Index", Selector::kIndex}, Case{"IndexTile16", Selector::kIndex, 16},
                    Case{"IndexWithoutTail", Selector::kIndex, 1, false},
                    Case{"Mean", Selector::kMean}, Case{"Max", Selector::kMax},
                    Case{"Quest", Selector::kQuest}, Case{"QuestMean", Selector::kQuestMean, 64},
                    Case{"Gate", Selector::kGate}, Case{"Compressed", Selector::kCompressed},
                    Case{"Mlps", Selector::kIndex, 1, true, Compression::kMlp, Compression::kMlp},
                    Case{"Biases", Selector::kMean, 1, true, Compression::kMax, Compression::kMean,
                         Combiner::kLogSumExp, true},
                    Case{"Literal", Selector::kCompressed, 1, true, Compression::kMax,
                         Compression::kMlp, Combiner::kLiteral}),
    [](const auto& info) { return info.param.name; });

class DistillTest : public testing::Test {
 protected:
  DistillTest()
      : checkpoint_(OpenTinyModel({}, /*gguf=*/false)),
        llama_(checkpoint_->config(), checkpoint_->weights(), at::TensorOptions(at::kFloat)),
        config_(TinyAdapterConfig(checkpoint_->config())),
        layers_(LoadLayers(SeededAdapter(config_, 3), at::kCPU)),
        tokens_(AsBatch(RandomTokens(kTokens, 5))) {
    for (LayerTensors& layer : layers_) {
      for (auto& [name, tensor] : layer) tensor.requires_grad_();
    }
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  FrozenLlama llama_;
  AdapterConfig config_;
  std::vector<LayerTensors> layers_;
  at::Tensor tokens_;
};

TEST_F(DistillTest, AllBlocksAreNoLoss) {
  const DistillOptions all = {.selected_blocks = 100, .selector_weight = 0};
  EXPECT_LT(DistillLayers(llama_, config_, layers_, tokens_, all).total, 1e-9);
  EXPECT_LT(DistillEndToEnd(llama_, config_, layers_, tokens_, all).total, 1e-6);
}

TEST_F(DistillTest, LayersGiveEveryTensorAGradient) {
  const DistillLosses losses =
      DistillLayers(llama_, config_, layers_, tokens_, {.selected_blocks = 1});
  EXPECT_GT(losses.output, 0);
  EXPECT_GT(losses.selector, 0);
  EXPECT_DOUBLE_EQ(losses.total, losses.output + losses.selector);
  for (const LayerTensors& layer : layers_) {
    for (const auto& [name, tensor] : layer) {
      ASSERT_TRUE(tensor.grad().defined()) << name;
      EXPECT_GT(tensor.grad().abs().max().item<double>(), 0) << name;
    }
  }
}

// How many logits are in memory does not matter, nor that layers pass gradients on.
TEST_F(DistillTest, EndToEndReachesTheFirstLayer) {
  std::vector<at::Tensor> gradients;
  for (const int64_t rows : {64, 1000}) {
    const DistillLosses losses =
        DistillEndToEnd(llama_, config_, layers_, tokens_,
                        {.selected_blocks = 1, .logit_rows = rows, .selector_weight = 0});
    EXPECT_GT(losses.kl, 0);
    const at::Tensor& tilt = layers_[0]["compress.tilt"];
    gradients.push_back(tilt.grad().clone());
    for (LayerTensors& layer : layers_) {
      for (auto& [name, tensor] : layer) tensor.mutable_grad().reset();
    }
  }
  const double size = gradients[0].abs().max().item<double>();
  EXPECT_GT(size, 0);
  EXPECT_LT((gradients[0] - gradients[1]).abs().max().item<double>(), 1e-4 * size);
}

// A loss and its gradients, which are taken away.
struct Outcome {
  DistillLosses losses;
  std::vector<at::Tensor> gradients;
};

class PaddingTest : public DistillTest, public testing::WithParamInterface<int64_t> {
 protected:
  Outcome Distill(bool end_to_end, const at::Tensor& tokens, const DistillOptions& options) {
    Outcome out;
    out.losses = end_to_end ? DistillEndToEnd(llama_, config_, layers_, tokens, options)
                            : DistillLayers(llama_, config_, layers_, tokens, options);
    for (LayerTensors& layer : layers_) {
      for (auto& [name, tensor] : layer) {
        out.gradients.push_back(tensor.grad().clone());
        tensor.mutable_grad().reset();
      }
    }
    return out;
  }
};

// The last tile of the short sequence is not whole without padding, and would be with it.
TEST_P(PaddingTest, ItHasNoPart) {
  config_.query_tile = GetParam();
  constexpr int64_t kLength = 330;
  const at::Tensor real = at::arange(kTokens).lt(kLength).unsqueeze(0);
  for (const bool end_to_end : {false, true}) {
    const Outcome alone = Distill(end_to_end, tokens_.narrow(1, 0, kLength),
                                  {.selected_blocks = 1, .query_chunk = 128});
    const Outcome padded =
        Distill(end_to_end, tokens_, {.selected_blocks = 1, .query_chunk = 128, .real = real});
    const auto near = [](double a, double b) { EXPECT_NEAR(a, b, 1e-5 * std::abs(b)); };
    near(padded.losses.output, alone.losses.output);
    near(padded.losses.selector, alone.losses.selector);
    near(padded.losses.kl, alone.losses.kl);
    EXPECT_GT(alone.losses.selector, 0);
    for (size_t i = 0; i < alone.gradients.size(); ++i) {
      const double size = alone.gradients[i].abs().max().item<double>();
      EXPECT_LT((padded.gradients[i] - alone.gradients[i]).abs().max().item<double>(),
                1e-4 * size + 1e-9)
          << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tiles, PaddingTest, testing::Values(1, 16, 64),
                         [](const auto& info) { return std::to_string(info.param); });

TEST_F(DistillTest, AnswersHaveALossOfTheirOwn) {
  at::Tensor answers = at::zeros({1, kTokens}, at::kBool);
  for (const int64_t i : {0, 7, 300, 301, 449}) answers[0][i] = true;
  double without = 0;
  for (const int64_t rows : {2, 1000}) {
    const DistillOptions options = {.selected_blocks = 1,
                                    .logit_rows = rows,
                                    .selector_weight = 0,
                                    .task_weight = 0.5,
                                    .answers = answers};
    const at::Tensor logits = at::log_softmax(
        llama_.Logits(SparseHidden(llama_, config_, layers_, tokens_, options).hidden[0]), -1);
    double expected = 0;
    // The first token follows none.
    for (const int64_t i : {7, 300, 301, 449}) {
      expected -= logits[i - 1][tokens_[0][i].item<int64_t>()].item<double>() / 4;
    }
    const DistillLosses losses = DistillEndToEnd(llama_, config_, layers_, tokens_, options);
    EXPECT_NEAR(losses.task, expected, 1e-4 * expected);
    EXPECT_NEAR(losses.total, losses.kl + 0.5 * losses.task, 1e-9);
    without = losses.kl;
  }
  // It weighs on the gradients.
  const auto gradient = [this](const DistillOptions& options) {
    for (LayerTensors& layer : layers_) {
      for (auto& [name, tensor] : layer) tensor.mutable_grad().reset();
    }
    DistillEndToEnd(llama_, config_, layers_, tokens_, options);
    return layers_[0]["compress.tilt"].grad().clone();
  };
  DistillOptions options = {.selected_blocks = 1, .selector_weight = 0, .answers = answers};
  const at::Tensor plain = gradient(options);
  options.task_weight = 1;
  EXPECT_GT((gradient(options) - plain).abs().max().item<double>(), 0);
  options = {.selected_blocks = 1, .selector_weight = 0, .task_weight = 1};
  EXPECT_NEAR(DistillEndToEnd(llama_, config_, layers_, tokens_, options).total, without, 1e-6);
}

}  // namespace
}  // namespace sieve
