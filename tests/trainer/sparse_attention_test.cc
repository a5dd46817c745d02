#include "trainer/sparse_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "tests/kernels/random_data.h"
#include "tests/trainer/reference_attention.h"
#include "tests/trainer/tiny_model.h"

namespace sieve {
namespace {

constexpr uint64_t kSeed = 7;

at::Tensor Random(std::mt19937_64& random, at::IntArrayRef shape, float scale = 1) {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  std::vector<float> values = RandomFloats(random, count, scale);
  return at::from_blob(values.data(), shape, at::TensorOptions(at::kFloat)).clone();
}

AttentionInputs RandomInputs(const AdapterConfig& c, int64_t sequences, int64_t tokens,
                             const FrozenLlama& llama) {
  std::mt19937_64 random(kSeed);
  AttentionInputs in;
  in.x = Random(random, {sequences, tokens, c.hidden_size});
  in.unrotated_q = Random(random, {sequences, c.num_heads, tokens, c.head_dim}, 2);
  in.unrotated_k = Random(random, {sequences, c.num_kv_heads, tokens, c.head_dim}, 2);
  in.v = Random(random, {sequences, c.num_kv_heads, tokens, c.head_dim});
  const at::Tensor positions = at::arange(tokens, at::TensorOptions(at::kLong));
  in.q = llama.Rotate(in.unrotated_q, positions);
  in.k = llama.Rotate(in.unrotated_k, positions);
  return in;
}

std::vector<double> Doubles(const at::Tensor& x) {
  const at::Tensor wide = x.to(at::kDouble).contiguous();
  return {wide.data_ptr<double>(), wide.data_ptr<double>() + wide.numel()};
}

ReferenceInputs OfSequence(const AttentionInputs& in, int64_t n, const ModelConfig& model) {
  const auto rows = [n](const at::Tensor& x) { return Doubles(x[n].transpose(0, 1)); };
  return {.tokens = in.x.size(1),
          .x = Doubles(in.x[n]),
          .q = rows(in.q),
          .unrotated_q = rows(in.unrotated_q),
          .k = rows(in.k),
          .v = rows(in.v),
          .unrotated_k = rows(in.unrotated_k),
          .frequencies = RopeFrequencies(model)};
}

struct Case {
  std::string name;
  std::function<void(AdapterConfig&)> change;
};

std::vector<Case> Cases() {
  using A = AdapterConfig;
  return {
      {"Index4", [](A& c) {}},
      {"Index16", [](A& c) { c.index_bits = 16; }},
      {"NoTail", [](A& c) { c.tail = false; }},
      {"Mean", [](A& c) { c.selector = Selector::kMean; }},
      {"Max", [](A& c) { c.selector = Selector::kMax; }},
      {"Quest", [](A& c) { c.selector = Selector::kQuest; }},
      {"QuestMean", [](A& c) { c.selector = Selector::kQuestMean; }},
      {"Gate", [](A& c) { c.selector = Selector::kGate; }},
      {"Oracle", [](A& c) { c.selector = Selector::kOracle; }},
      {"CompressedWithoutTail",
       [](A& c) {
         c.selector = Selector::kCompressed;
         c.tail = false;
         c.compression_block = 16;
       }},
      {"Tile16", [](A& c) { c.query_tile = 16; }},
      {"Tile64", [](A& c) { c.query_tile = 64; }},
      {"NothingSelected", [](A& c) { c.selected_blocks = 0; }},
      {"NoSinkNoWindow", [](A& c) { c.sink_blocks = c.window_blocks = 0; }},
      {"MeanAndMax",
       [](A& c) {
         c.key_compression = Compression::kMax;
         c.value_compression = Compression::kMean;
         c.compression_block = 32;
         c.position_embeddings = true;
       }},
      {"Mlps",
       [](A& c) {
         c.key_compression = c.value_compression = Compression::kMlp;
         c.compression_block = 8;
         c.expand_factor = 0.5;
         c.position_embeddings = true;
       }},
      {"SharedMlp",
       [](A& c) {
         c.key_compression = Compression::kMax;
         c.value_compression = Compression::kMlp;
         c.compression_block = 8;
         c.shared_compression = true;
       }},
      {"ResidualMlp",
       [](A& c) {
         c.compression_block = 16;
         c.value_residual_mlp = true;
         c.position_embeddings = true;
       }},
      {"BranchBiases", [](A& c) { c.branch_biases = true; }},
      {"Literal",
       [](A& c) {
         c.combiner = Combiner::kLiteral;
         c.key_compression = Compression::kMax;
         c.value_compression = Compression::kMlp;
         c.compression_block = 16;
       }},
      {"LiteralTilted",
       [](A& c) {
         c.combiner = Combiner::kLiteral;
         c.selector = Selector::kCompressed;
       }},
  };
}

class SparseAttentionTest : public testing::TestWithParam<Case> {
 protected:
  SparseAttentionTest()
      : checkpoint_(OpenTinyModel({}, /*gguf=*/false)),
        llama_(checkpoint_->config(), checkpoint_->weights(), at::TensorOptions(at::kFloat)),
        config_(TinyAdapterConfig(checkpoint_->config())) {
    GetParam().change(config_);
    EXPECT_TRUE(ValidateAdapterConfig(config_).ok());
    adapter_ = SeededAdapter(config_, kSeed);
    layers_ = LoadLayers(adapter_, at::kCPU);
  }

  const ModelConfig& model() const { return checkpoint_->config(); }

  std::unique_ptr<Checkpoint> checkpoint_;
  FrozenLlama llama_;
  AdapterConfig config_;
  Adapter adapter_;
  std::vector<LayerTensors> layers_;
};

INSTANTIATE_TEST_SUITE_P(Options, SparseAttentionTest, testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.name; });

TEST_P(SparseAttentionTest, IsWhatThePageSays) {
  for (int64_t tokens : {1, 64, 65, 449}) {
    const AttentionInputs in = RandomInputs(config_, 2, tokens, llama_);
    const SparseAttentionResult found =
        SparseAttention(llama_, config_, layers_[0], in,
                        {.selected_blocks = config_.selected_blocks, .query_chunk = 128});
    int64_t keys_read = 0;
    for (int64_t n = 0; n < 2; ++n) {
      std::vector<std::vector<int64_t>> selected;
      const std::vector<double> expected =
          ReferenceAttention(config_, adapter_.layers[0], OfSequence(in, n, model()), &selected);
      const std::vector<double> heads = Doubles(found.heads[n].transpose(0, 1));
      ASSERT_EQ(heads.size(), expected.size());
      for (size_t i = 0; i < heads.size(); ++i) {
        ASSERT_NEAR(heads[i], expected[i], 2e-5) << tokens << " tokens, at " << i;
      }
      for (size_t i = 0; i < selected.size(); ++i) {
        const int64_t t = static_cast<int64_t>(i) / config_.num_kv_heads;
        keys_read += 64 * static_cast<int64_t>(selected[i].size());
        for (int64_t j = 0; j <= t; ++j) {
          const int64_t b = j / 64;
          keys_read += b < config_.sink_blocks || b >= t / 64 - config_.window_blocks;
        }
      }
    }
    EXPECT_EQ(found.keys_read.item<int64_t>(), keys_read);
  }
}

// The value to differentiate, and the gradients of it with respect to the layer's tensors and q.
double Objective(const FrozenLlama& llama, const AdapterConfig& config, const LayerTensors& layer,
                 const AttentionInputs& in, int64_t query_chunk, bool backward) {
  c10::AutoGradMode gradients(backward);
  const SparseAttentionResult found = SparseAttention(llama, config, layer, in,
                                                      {.selected_blocks = config.selected_blocks,
                                                       .query_chunk = query_chunk,
                                                       .selector_loss = true});
  std::mt19937_64 random(kSeed + 1);
  const at::Tensor objective =
      (found.heads * Random(random, found.heads.sizes())).sum() + 3 * found.selector_loss;
  if (backward) objective.backward();
  return objective.item<double>();
}

TEST_P(SparseAttentionTest, GradientsAreDifferenceQuotients) {
  if (config_.selector == Selector::kIndex) config_.index_bits = 16;  // rounding has steps
  AttentionInputs in = RandomInputs(config_, 1, 330, llama_);
  in.q.requires_grad_();
  for (auto& [name, tensor] : layers_[0]) tensor.requires_grad_();
  Objective(llama_, config_, layers_[0], in, 64, true);
  std::map<std::string, at::Tensor> gradients = {{"q", in.q.grad().clone()}};
  in.q.mutable_grad().reset();
  for (auto& [name, tensor] : layers_[0]) {
    gradients[name] = tensor.grad().defined() ? tensor.grad().clone() : at::zeros_like(tensor);
    tensor.mutable_grad().reset();
  }
  // Whatever the size of a chunk is.
  Objective(llama_, config_, layers_[0], in, 512, true);
  std::map<std::string, at::Tensor> tensors = layers_[0];
  for (auto& [name, tensor] : tensors) {
    if (!tensor.grad().defined()) continue;
    const double error = (tensor.grad() - gradients[name]).abs().max().item<double>();
    EXPECT_LE(error, 1e-4 * (1 + gradients[name].abs().max().item<double>())) << name;
  }
  // Along the gradient, so that the quotient is far above rounding.
  for (auto& [name, tensor] : tensors) {
    const double norm = gradients[name].norm().item<double>();
    if (norm < 1e-3) continue;
    const double step = 2e-2;
    const at::Tensor saved = tensor.detach().clone(), along = gradients[name] / norm;
    double value[2];
    for (int side : {0, 1}) {
      c10::NoGradGuard none;
      LayerTensors moved = layers_[0];
      moved[name] = saved + along * (side == 0 ? -step : step);
      value[side] = Objective(llama_, config_, moved, in, 512, false);
    }
    const bool chooses = name.starts_with("index") || name.starts_with("gate") ||
                         config_.selector == Selector::kCompressed;
    if (chooses && config_.selected_blocks > 0) continue;  // the choice itself has no gradient
    EXPECT_NEAR((value[1] - value[0]) / (2 * step), norm, 0.03 * norm + 0.05) << name;
  }
}

// With values that name their block, the output is each block's share.
TEST(SparseAttention, TheProbeTellsTheBranchesShares) {
  const auto checkpoint = OpenTinyModel({}, /*gguf=*/false);
  const ModelConfig& model = checkpoint->config();
  const FrozenLlama llama(model, checkpoint->weights(), at::TensorOptions(at::kFloat));
  for (const bool tail : {true, false}) {
    for (const bool biases : {false, true}) {
      AdapterConfig config = TinyAdapterConfig(model);
      config.tail = tail;
      config.branch_biases = tail && biases;
      config.compression_block = 16;
      const Adapter adapter = SeededAdapter(config, kSeed);
      const LayerTensors layer = LoadLayers(adapter, at::kCPU)[0];
      constexpr int64_t kTokens = 7 * 64 + 9, kBlocks = 7;
      AttentionInputs in = RandomInputs(config, 2, kTokens, llama);
      const at::Tensor block = at::arange(kTokens, at::TensorOptions(at::kLong)).div(64, "floor");
      in.v = block.unsqueeze(-1)
                 .eq(at::arange(config.head_dim, block.options()))
                 .to(at::kFloat)
                 .expand({2, config.num_kv_heads, kTokens, config.head_dim})
                 .contiguous();
      const c10::NoGradGuard no_gradients;
      const SparseAttentionResult result = SparseAttention(
          llama, config, layer, in, {.selected_blocks = 2, .query_chunk = 128, .probe = true});
      double expected[3] = {}, rows = 0;
      std::vector<double> chosen(2 * config.num_kv_heads * kBlocks * kBlocks);
      for (int64_t n = 0; n < 2; ++n) {
        std::vector<std::vector<int64_t>> selected;
        ReferenceAttention(config, adapter.layers[0], OfSequence(in, n, model), &selected);
        for (int64_t t = 3 * 64; t < kTokens; ++t) {  // sink, window and its own before
          for (int64_t h = 0; h < config.num_heads; ++h) {
            const int64_t kv = h / (config.num_heads / config.num_kv_heads);
            const std::vector<int64_t>& blocks = selected[t * config.num_kv_heads + kv];
            const at::Tensor shares = result.heads[n][h][t];
            for (int64_t b = 0; b <= t / 64; ++b) {
              const bool base = b == 0 || b >= t / 64 - 1;
              const bool is_selected = std::find(blocks.begin(), blocks.end(), b) != blocks.end();
              expected[base ? 0 : is_selected ? 1 : 2] += shares[b].item<double>();
            }
            ++rows;
          }
        }
        for (int64_t t = 0; t < kBlocks * 64; ++t) {
          for (int64_t kv = 0; kv < config.num_kv_heads; ++kv) {
            for (const int64_t b : selected[t * config.num_kv_heads + kv]) {
              chosen[((n * config.num_kv_heads + kv) * kBlocks + t / 64) * kBlocks + b] += 1.0 / 64;
            }
          }
        }
      }
      for (int i = 0; i < 3; ++i) {
        EXPECT_NEAR(result.branches[i].item<double>(), expected[i] / rows, 1e-4)
            << "branch " << i << ", tail " << tail << ", biases " << biases;
      }
      const std::vector<double> found = Doubles(result.chosen);
      ASSERT_EQ(found.size(), chosen.size());
      for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], chosen[i], 1e-6) << i;
    }
  }
}

TEST(SparseAttention, ALiteralCombinersSharesAreThoseOfItsGates) {
  const auto checkpoint = OpenTinyModel({}, /*gguf=*/false);
  const FrozenLlama llama(checkpoint->config(), checkpoint->weights(),
                          at::TensorOptions(at::kFloat));
  AdapterConfig config = TinyAdapterConfig(checkpoint->config());
  config.combiner = Combiner::kLiteral;
  LayerTensors layer = LoadLayers(SeededAdapter(config, kSeed), at::kCPU)[0];
  layer["combine.weight"].zero_();
  for (int64_t part = 0; part < 3; ++part) {
    layer["combine.bias"].select(0, part).fill_(static_cast<double>(part));
  }
  const c10::NoGradGuard no_gradients;
  const at::Tensor shares =
      SparseAttention(llama, config, layer, RandomInputs(config, 1, 330, llama),
                      {.selected_blocks = 1, .query_chunk = 64, .probe = true})
          .branches;
  const auto gate = [](double x) { return 1 / (1 + std::exp(-x)); };
  const double sum = gate(0) + gate(1) + gate(2);
  for (int i = 0; i < 3; ++i) {
    EXPECT_NEAR(shares[i].item<double>(), gate(2 - i) / sum, 1e-5);
  }
}

TEST(SparseAttention, WithoutCandidatesTheSharesAreZero) {
  const auto checkpoint = OpenTinyModel({}, /*gguf=*/false);
  const FrozenLlama llama(checkpoint->config(), checkpoint->weights(),
                          at::TensorOptions(at::kFloat));
  const AdapterConfig config = TinyAdapterConfig(checkpoint->config());
  const LayerTensors layer = LoadLayers(SeededAdapter(config, kSeed), at::kCPU)[0];
  const c10::NoGradGuard no_gradients;
  for (const int64_t tokens : {1, 63, 64, 192}) {
    const SparseAttentionResult result =
        SparseAttention(llama, config, layer, RandomInputs(config, 1, tokens, llama),
                        {.selected_blocks = 1, .probe = true});
    EXPECT_EQ(result.branches.abs().sum().item<double>(), 0) << tokens;
    EXPECT_EQ(result.chosen.size(2), tokens / 64);
  }
}

}  // namespace
}  // namespace sieve
