#include "trainer/eval/generation.h"

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "tests/trainer/tiny_model.h"
#include "trainer/eval/engine_model.h"
#include "trainer/eval/gsm8k.h"
#include "trainer/eval/table.h"

namespace sieve {
namespace {

using nlohmann::ordered_json;

// Two variants: one that reads every block, and so says what dense attention says.
class GenerationTest : public testing::Test {
 protected:
  GenerationTest() : checkpoint_(OpenTinyModel({}, /*gguf=*/true)) {
    auto tokenizer = Tokenizer::Create(checkpoint_->vocabulary());
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
    AdapterConfig config = TinyAdapterConfig(checkpoint_->config());
    config.tail = false;
    const auto adapter = std::make_shared<Adapter>(SeededAdapter(config, 3));
    variants_ = {{"all", adapter, 100}, {"few", adapter, 0}};
    auto model = OpenEngineModel(checkpoint_->config(), checkpoint_->weights(), variants_,
                                 {.device = Device::kCpu, .cache_pages = 60});
    EXPECT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<Variant> variants_;
  std::unique_ptr<Transformer> model_;
};

TEST_F(GenerationTest, RowsTextsAndTable) {
  const std::vector<std::string> prompts = {std::string(400, 'a'), "hello"};
  const auto found = EvaluateGeneration(model_.get(), *tokenizer_, variants_, prompts,
                                        {.greedy = {.max_tokens = 30}});
  ASSERT_TRUE(found.ok()) << found.status();
  ordered_json results = {{"task", "generation"}};
  results.update(*found);
  ASSERT_EQ(results["rows"].size(), 3);
  const ordered_json &dense = results["rows"][0], &all = results["rows"][1];
  EXPECT_FALSE(dense.contains("tokens_difference"));
  EXPECT_EQ(all["tokens"], dense["tokens"]);
  EXPECT_EQ(all["as_dense"], dense["tokens"]);
  for (const char* key : {"tokens", "distinct_2", "repeated_4", "self_bleu"}) {
    EXPECT_EQ(all[std::string(key) + "_difference"], 0) << key;
    EXPECT_EQ(all[std::string(key) + "_difference_interval"], ordered_json({0.0, 0.0})) << key;
  }
  EXPECT_LE(dense["distinct_1"].get<double>(), dense["distinct_3"].get<double>());
  ASSERT_EQ(results["texts"].size(), 2);
  EXPECT_EQ(results["texts"][1]["prompt"], "hello");
  EXPECT_EQ(results["texts"][1]["texts"].size(), 3);
  EXPECT_EQ(results["texts"][0]["texts"][0], results["texts"][0]["texts"][1]);
  const std::string table = MarkdownTables(results);
  EXPECT_NE(table.find("Texts of 2 prompts, differences to dense"), std::string::npos) << table;
  EXPECT_NE(table.find("| few | 0 |"), std::string::npos) << table;

  results["rows"][1]["adapter"] = "a|b";
  EXPECT_NE(MarkdownTables(results).find("| a\\|b | "), std::string::npos);
}

TEST_F(GenerationTest, ReadsPrompts) {
  const std::string path = testing::TempDir() + "/prompts.jsonl";
  std::ofstream(path) << R"({"turns": ["first", "second"]})"
                      << "\n"
                      << R"({"prompt": "only"})"
                      << "\n"
                      << R"({"turns": []})"
                      << "\n";
  const auto prompts = ReadPrompts(path, 2);
  ASSERT_TRUE(prompts.ok()) << prompts.status();
  EXPECT_EQ(*prompts, (std::vector<std::string>{"first", "only"}));
  EXPECT_EQ(ReadPrompts(path, 0).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(GenerationTest, Gsm8kComparesAnswers) {
  const std::vector<Gsm8kProblem> shots = {{"1 and 1?", "#### 2"}};
  const std::vector<Gsm8kProblem> problems = {{"2 and 2?", "#### 4"}, {"3 and 3?", "#### 6"}};
  const auto found = EvaluateGsm8k(model_.get(), *tokenizer_, variants_, shots, problems,
                                   {.greedy = {.max_tokens = 8, .stop_texts = {kGsm8kStop}}});
  ASSERT_TRUE(found.ok()) << found.status();
  ordered_json results = {{"task", "gsm8k"}};
  results.update(*found);
  ASSERT_EQ(results["rows"].size(), 3);
  EXPECT_EQ(results["rows"][1]["only_dense"], 0);
  EXPECT_EQ(results["rows"][1]["only_sparse"], 0);
  EXPECT_EQ(results["rows"][1]["trials"], 2);
  EXPECT_EQ(results["answers"][1]["expected"], 6);
  EXPECT_EQ(results["answers"][1]["texts"].size(), 3);
  EXPECT_NE(MarkdownTables(results).find("GSM8K: 2 problems, 1 shots"), std::string::npos);
}

}  // namespace
}  // namespace sieve
