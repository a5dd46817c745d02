#include "trainer/eval/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>
#include <sstream>
#include <vector>

#include "tests/trainer/tiny_model.h"
#include "trainer/batches.h"
#include "trainer/distill.h"
#include "trainer/eval/engine_model.h"
#include "trainer/eval/engine_scorer.h"
#include "trainer/eval/table.h"
#include "trainer/eval/torch_scorer.h"

namespace sieve {
namespace {

using nlohmann::ordered_json;

std::vector<int32_t> RandomTokens(int64_t count) {
  std::mt19937_64 random(5);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % kTinyTokens);
  return tokens;
}

// A tiny model with variants, scored both ways.
class PerplexityTest : public testing::Test {
 protected:
  PerplexityTest() : checkpoint_(OpenTinyModel({}, /*gguf=*/false)) {
    AdapterConfig config = TinyAdapterConfig(checkpoint_->config());
    Add("index", config, {100, 1, 0});
    config.selector = Selector::kMean;
    config.query_tile = 16;
    config.dense_layers = {1};
    Add("mean", config, {1});
  }

  void Add(const char* name, const AdapterConfig& config, const std::vector<int64_t>& budgets) {
    const auto adapter = std::make_shared<Adapter>(SeededAdapter(config, 3));
    for (const int64_t blocks : budgets) variants_.push_back({name, adapter, blocks});
  }

  std::unique_ptr<WindowScorer> Engine(int64_t window) {
    const int64_t variants = static_cast<int64_t>(variants_.size());
    const int64_t step = (variants + 1) * EngineScorer::ChunkTokens(variants);
    auto model = OpenEngineModel(checkpoint_->config(), checkpoint_->weights(), variants_,
                                 {.device = Device::kCpu,
                                  .dtype = DType::kF32,
                                  .cache_pages = EngineScorer::Pages(variants, window),
                                  .max_step_tokens = step,
                                  .max_sequences = step,
                                  .max_context_tokens = window});
    EXPECT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    return std::make_unique<EngineScorer>(model_.get(), variants, 2);
  }

  std::unique_ptr<WindowScorer> Torch(int64_t windows_at_once) {
    if (llama_ == nullptr) {
      llama_ = std::make_unique<FrozenLlama>(checkpoint_->config(), checkpoint_->weights(),
                                             at::TensorOptions(at::kFloat));
    }
    return std::make_unique<TorchScorer>(
        llama_.get(), TorchVariants(variants_, at::kCPU),
        TorchScorerOptions{
            .windows_at_once = windows_at_once, .query_chunk = 64, .logit_rows = 100});
  }

  ordered_json Evaluate(WindowScorer* scorer, const std::vector<std::vector<int32_t>>& texts,
                        const PerplexityOptions& options) {
    std::vector<TokenisedText> named;
    for (const auto& tokens : texts) named.push_back({"text", tokens});
    const auto results = EvaluatePerplexity(scorer, variants_, named, options);
    EXPECT_TRUE(results.ok()) << results.status();
    return results.ok() ? *results : ordered_json();
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::vector<Variant> variants_;
  std::unique_ptr<Transformer> model_;
  std::unique_ptr<FrozenLlama> llama_;
};

// The same numbers through the server's forward pass and through LibTorch's, window by window and
// token by token. 910 tokens: the last window is neither whole nor a multiple of anything.
TEST_F(PerplexityTest, TheEnginesScoresAreTorchs) {
  const std::vector<int32_t> text = RandomTokens(910);
  for (const int64_t stride : {390, 200}) {
    const auto windows = ScoredWindows(910, 390, stride, 0);
    const auto engine = Engine(390)->Score(text, windows);
    const auto torch = Torch(2)->Score(text, windows);
    ASSERT_TRUE(engine.ok()) << engine.status();
    ASSERT_TRUE(torch.ok()) << torch.status();
    for (size_t v = 0; v < variants_.size(); ++v) {
      ASSERT_EQ((*engine)[v].size(), windows.size());
      for (size_t n = 0; n < windows.size(); ++n) {
        const WindowScores &a = (*engine)[v][n], &b = (*torch)[v][n];
        ASSERT_EQ(a.size(), windows[n].end - windows[n].scored);
        ASSERT_EQ(b.size(), a.size());
        for (size_t i = 0; i < a.size(); ++i) {
          ASSERT_NEAR(a[i].dense_nll, b[i].dense_nll, 1e-4) << v << " " << n << " " << i;
          ASSERT_NEAR(a[i].sparse_nll, b[i].sparse_nll, 1e-4) << v << " " << n << " " << i;
          ASSERT_NEAR(a[i].kl, b[i].kl, 1e-5) << v << " " << n << " " << i;
        }
      }
    }
  }
}

// The formula for the density against what the trainer's attention counted.
TEST_F(PerplexityTest, TheDensityIsWhatIsRead) {
  const c10::NoGradGuard no_gradients;
  Torch(1);
  const std::vector<int32_t> text = RandomTokens(390);
  const std::vector<int64_t> begins = {0};
  const std::vector<TorchVariant> tensors = TorchVariants(variants_, at::kCPU);
  for (size_t v = 0; v < variants_.size(); ++v) {
    const AdapterConfig& config = tensors[v].config;
    const double read =
        SparseHidden(*llama_, config, tensors[v].layers, MakeBatch(text, begins, 390, at::kCPU),
                     {.selected_blocks = config.selected_blocks})
            .keys_read.item<double>();
    const double causal = 390 * 391 / 2;
    const double dense_layers = static_cast<double>(config.dense_layers.size());
    const double all = causal * static_cast<double>(config.num_layers);
    const double expected =
        (read / static_cast<double>(config.num_kv_heads) + dense_layers * causal) / all;
    EXPECT_NEAR(Density(config, 390), expected, 1e-9) << v;
  }
}

TEST_F(PerplexityTest, AllBlocksLoseNothingAndFewLoseSome) {
  const auto engine = Engine(390);
  const ordered_json results =
      Evaluate(engine.get(), {RandomTokens(1200)}, {.window = 390, .stride = 390, .bucket = 100});
  const ordered_json& text = results["texts"][0];
  EXPECT_EQ(text["text_tokens"], 1200);
  EXPECT_EQ(text["windows"], 4);
  EXPECT_FALSE(results.contains("all"));
  const ordered_json& all = text["rows"][0];
  EXPECT_EQ(all["tokens"], 1200 - 4);
  EXPECT_EQ(all["ratio"], 1);  // the engine promises dense attention to the last bit
  EXPECT_EQ(all["kl"], 0);
  EXPECT_EQ(all["agreement"], 1);
  EXPECT_EQ(all["density"], 1);
  const ordered_json& none = text["rows"][2];
  EXPECT_EQ(none["adapter"], "index");
  EXPECT_EQ(none["selected_blocks"], 0);
  EXPECT_EQ(none["dense_perplexity"], all["dense_perplexity"]);
  EXPECT_GT(none["kl"].get<double>(), 1e-5);
  EXPECT_LT(none["density"].get<double>(), 0.8);
  for (const char* key : {"ratio", "kl", "agreement"}) {
    const ordered_json& interval = none[std::string(key) + "_interval"];
    EXPECT_LE(interval[0].get<double>(), none[key].get<double>()) << key;
    EXPECT_GE(interval[1].get<double>(), none[key].get<double>()) << key;
  }
  EXPECT_LT(none["kl_interval"][0].get<double>(), none["kl_interval"][1].get<double>());
}

TEST_F(PerplexityTest, BucketsAreByPositionAndAddUp) {
  const auto engine = Engine(390);
  const ordered_json results =
      Evaluate(engine.get(), {RandomTokens(1000)}, {.window = 390, .stride = 390, .bucket = 100});
  const ordered_json& row = results["texts"][0]["rows"][2];
  ASSERT_EQ(row["buckets"].size(), 4);
  double kl = 0;
  int64_t tokens = 0;
  for (const ordered_json& bucket : row["buckets"]) {
    kl += bucket["kl"].get<double>() * bucket["tokens"].get<double>();
    tokens += bucket["tokens"].get<int64_t>();
  }
  EXPECT_EQ(tokens, row["tokens"]);
  EXPECT_NEAR(kl / static_cast<double>(tokens), row["kl"].get<double>(), 1e-9);
  EXPECT_EQ(row["buckets"][0]["tokens"], 3 * 99);
  EXPECT_EQ(row["buckets"][3]["from"], 300);
  EXPECT_EQ(row["buckets"][3]["to"], 390);
  // Sink, window and the token's own block are all there is at first.
  EXPECT_EQ(row["buckets"][0]["kl"], 0);
  EXPECT_GT(row["buckets"][3]["kl"].get<double>(), 0);
}

TEST_F(PerplexityTest, SeveralTextsAndAllOfThem) {
  const auto engine = Engine(200);
  const ordered_json results = Evaluate(engine.get(), {RandomTokens(500), RandomTokens(150)},
                                        {.window = 200, .stride = 200});
  ASSERT_EQ(results["texts"].size(), 2);
  EXPECT_EQ(results["texts"][1]["windows"], 1);
  EXPECT_TRUE(results["texts"][1]["rows"][0]["kl_interval"].is_null());
  EXPECT_EQ(results["all"][0]["tokens"], 500 - 3 + 149);
  const ordered_json& row = results["texts"][0]["rows"][2];
  ASSERT_EQ(row["window_kl"].size(), 3);
  EXPECT_EQ(results["all"][2]["window_kl"].size(), 4);
  // Windows of 199, 199 and 99 predicted tokens.
  const double kl = (199 * (row["window_kl"][0].get<double>() + row["window_kl"][1].get<double>()) +
                     99 * row["window_kl"][2].get<double>()) /
                    497;
  EXPECT_NEAR(kl, row["kl"].get<double>(), 1e-12);
}

TEST_F(PerplexityTest, TheTableHasEveryRow) {
  const auto engine = Engine(200);
  ordered_json results = {{"task", "perplexity"}};
  results.update(Evaluate(engine.get(), {RandomTokens(500), RandomTokens(300)},
                          {.window = 200, .stride = 200, .bucket = 128}));
  const std::string table = MarkdownTables(results);
  EXPECT_NE(table.find("text: 3 windows of 200, stride 200"), std::string::npos) << table;
  EXPECT_NE(table.find("| index | 100 | 1.000 |"), std::string::npos) << table;
  EXPECT_NE(table.find("| mean | 1 | 128 – 199 |"), std::string::npos) << table;
  EXPECT_NE(table.find("All texts"), std::string::npos) << table;
}

TEST_F(PerplexityTest, RefusesWhatCannotBe) {
  const auto torch = Torch(1);
  const std::vector<int32_t> tokens = RandomTokens(100), one = {1};
  const auto code = [&](absl::Span<const int32_t> text, const PerplexityOptions& options) {
    const TokenisedText named = {"text", text};
    return EvaluatePerplexity(torch.get(), variants_, {named}, options).status().code();
  };
  const auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code(tokens, {.window = 1, .stride = 1}), kInvalid);
  EXPECT_EQ(code(tokens, {.window = 50, .stride = 51}), kInvalid);
  EXPECT_EQ(code(tokens, {.window = 50, .stride = 0}), kInvalid);
  EXPECT_EQ(code(tokens, {.window = 50, .stride = 50, .bucket = -1}), kInvalid);
  EXPECT_EQ(code(one, {.window = 50, .stride = 50}), kInvalid);
  EXPECT_EQ(code({}, {.window = 50, .stride = 50}), kInvalid);
}

}  // namespace
}  // namespace sieve
