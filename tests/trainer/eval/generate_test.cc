#include "trainer/eval/generate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "model/sampling/logit_math.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/eval/engine_model.h"
#include "trainer/eval/side_by_side.h"

namespace sieve {
namespace {

constexpr int64_t kPages = 40;

class GenerateTest : public testing::Test {
 protected:
  GenerateTest() : checkpoint_(OpenTinyModel({}, /*gguf=*/true)) {
    auto tokenizer = Tokenizer::Create(checkpoint_->vocabulary());
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
    AdapterConfig config = TinyAdapterConfig(checkpoint_->config());
    config.query_tile = 16;
    variants_.push_back({"a", std::make_shared<Adapter>(SeededAdapter(config, 3)), 1});
  }

  std::unique_ptr<Transformer> Open(int64_t pages) {
    auto model = OpenEngineModel(
        checkpoint_->config(), checkpoint_->weights(), variants_,
        {.device = Device::kCpu, .num_threads = 1, .dtype = DType::kF32, .cache_pages = pages});
    EXPECT_TRUE(model.ok()) << model.status();
    return *std::move(model);
  }

  std::vector<int32_t> RandomPrompt(int64_t tokens) {
    std::vector<int32_t> prompt(tokens);
    for (int32_t& token : prompt) token = static_cast<int32_t>(random_() % kTinyTokens);
    return prompt;
  }

  // The whole text again for every token.
  Generated OneByOne(const Prompt& prompt, int64_t max_tokens) {
    const std::unique_ptr<Transformer> model = Open(kPages);
    Generated out;
    std::vector<int32_t> tokens = prompt.tokens;
    while (static_cast<int64_t>(out.tokens.size()) < max_tokens) {
      const int32_t size = static_cast<int32_t>(tokens.size());
      std::vector<int32_t> positions(size), pages(kPages);
      std::iota(positions.begin(), positions.end(), 0);
      std::iota(pages.begin(), pages.end(), 0);
      std::vector<float> logits(model->vocabulary_size());
      const std::vector<int32_t> offsets = {0, size}, rows = {size - 1};
      const std::vector<int32_t> slots = {prompt.adapter_slot};
      const std::vector<int32_t> prompts = {static_cast<int32_t>(prompt.tokens.size())};
      const absl::Status status = model->Forward({.tokens = tokens,
                                                  .positions = positions,
                                                  .offsets = offsets,
                                                  .block_tables = pages,
                                                  .block_table_stride = kPages,
                                                  .logit_rows = rows,
                                                  .adapters = slots,
                                                  .prompt_tokens = prompts},
                                                 absl::MakeSpan(logits));
      EXPECT_TRUE(status.ok()) << status;
      const int32_t next = ArgMax(logits);
      const std::vector<int32_t>& ends = tokenizer_->vocabulary().eos;
      if (std::find(ends.begin(), ends.end(), next) != ends.end()) {
        out.ended = true;
        break;
      }
      tokens.push_back(next);
      out.tokens.push_back(next);
    }
    return out;
  }

  const uint64_t seed_ = 17;
  std::mt19937_64 random_{seed_};
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<Variant> variants_;
};

// Prompts of all lengths around pages and tiles, some of which begin alike, dense and sparse, in a
// cache that does not hold all of them at once.
TEST_F(GenerateTest, ManyAtOnceIsEachAlone) {
  SCOPED_TRACE(seed_);
  const std::vector<int32_t> common = RandomPrompt(200);
  std::vector<Prompt> prompts;
  for (const int64_t length : {1, 15, 16, 63, 64, 65, 128, 130, 300, 447}) {
    std::vector<int32_t> prompt = RandomPrompt(length);
    std::copy_n(common.begin(), std::min<int64_t>(length / 2, 200), prompt.begin());
    prompts.push_back({prompt, -1});
    prompts.push_back({prompt, 0});
  }
  prompts.push_back(prompts.back());  // found whole in the cache
  const std::unique_ptr<Transformer> model = Open(20);
  const GreedyOptions options = {.max_tokens = 9, .max_running = 5, .max_step_tokens = 140};
  const auto all = GenerateGreedy(model.get(), *tokenizer_, prompts, options);
  ASSERT_TRUE(all.ok()) << all.status();
  ASSERT_EQ(all->size(), prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    const Generated alone = OneByOne(prompts[i], options.max_tokens);
    EXPECT_EQ((*all)[i].tokens, alone.tokens) << i;
    EXPECT_EQ((*all)[i].ended, alone.ended) << i;
    EXPECT_EQ((*all)[i].text, DecodeBytes(*tokenizer_, alone.tokens, false)) << i;
  }
}

TEST_F(GenerateTest, AStopTextEndsAndIsCutOff) {
  const std::unique_ptr<Transformer> model = Open(kPages);
  const std::vector<Prompt> prompts = {{RandomPrompt(20), -1}};
  const auto whole = GenerateGreedy(model.get(), *tokenizer_, prompts, {.max_tokens = 40});
  ASSERT_TRUE(whole.ok()) << whole.status();
  const std::string text = (*whole)[0].text;
  ASSERT_GT(text.size(), 8);
  const std::string stop = text.substr(4, 3);  // may lie across tokens
  const auto cut = GenerateGreedy(model.get(), *tokenizer_, prompts,
                                  {.max_tokens = 40, .stop_texts = {"\xff\xff", stop}});
  ASSERT_TRUE(cut.ok()) << cut.status();
  EXPECT_EQ((*cut)[0].text, text.substr(0, text.find(stop)));
  EXPECT_TRUE((*cut)[0].ended);
  EXPECT_LT((*cut)[0].tokens.size(), (*whole)[0].tokens.size());
}

TEST_F(GenerateTest, RefusesWhatDoesNotFit) {
  const std::unique_ptr<Transformer> model = Open(3);
  const auto code = [&](int64_t length, int64_t max_tokens) {
    const std::vector<Prompt> prompts = {{RandomPrompt(length), -1}};
    return GenerateGreedy(model.get(), *tokenizer_, prompts, {.max_tokens = max_tokens})
        .status()
        .code();
  };
  EXPECT_EQ(code(0, 1), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(1020, 5), absl::StatusCode::kInvalidArgument);  // the context is 1024
  EXPECT_EQ(code(190, 3), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code(190, 2), absl::StatusCode::kOk);
}

TEST_F(GenerateTest, NoPrompts) {
  const std::unique_ptr<Transformer> model = Open(3);
  const auto none = GenerateGreedy(model.get(), *tokenizer_, {}, {});
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_TRUE(none->empty());
}

TEST_F(GenerateTest, SideBySideKeepsTheOrder) {
  const std::unique_ptr<Transformer> model = Open(kPages);
  const std::vector<std::vector<int32_t>> prompts = {RandomPrompt(400), RandomPrompt(30)};
  const auto both = GenerateSideBySide(model.get(), *tokenizer_, prompts, 1, {.max_tokens = 5});
  ASSERT_TRUE(both.ok()) << both.status();
  ASSERT_EQ(both->size(), 2);
  for (int32_t v = 0; v < 2; ++v) {
    ASSERT_EQ((*both)[v].size(), 2);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ((*both)[v][i].tokens, OneByOne({prompts[i], v - 1}, 5).tokens) << v << " " << i;
    }
  }
}

}  // namespace
}  // namespace sieve
