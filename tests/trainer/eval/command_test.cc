#include "trainer/eval/command.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

#include "model/adapter/adapter_file.h"
#include "model/adapter/base_digest.h"
#include "tests/trainer/tiny_model.h"

namespace sieve {
namespace {

// A tiny model, an adapter for it and files of every kind.
class RunEvalTest : public testing::Test {
 protected:
  RunEvalTest() {
    const auto checkpoint = OpenTinyModel({}, /*gguf=*/true);
    AdapterConfig adapter = TinyAdapterConfig(checkpoint->config());
    adapter.base_digest = BaseDigest(checkpoint->config(), checkpoint->weights());
    const absl::Status written =
        WriteAdapter(SeededAdapter(adapter, 3), folder_ + "tiny", DType::kF32);
    EXPECT_TRUE(written.ok()) << written;
    std::ofstream(folder_ + "text") << std::string(900, 'e') << " and more.";
    std::ofstream(folder_ + "problems") << R"({"question": "1+1?", "answer": "#### 2"})"
                                        << "\n"
                                        << R"({"question": "2+2?", "answer": "#### 4"})"
                                        << "\n";
    std::ofstream(folder_ + "prompts") << R"({"prompt": "hello"})"
                                       << "\n";
    config_.model = folder_ + "model.gguf";
    config_.adapters = {folder_ + "tiny"};
    config_.selected_blocks = {0, 1};
    config_.texts = {folder_ + "text"};
    config_.cache = folder_ + "tokens";
    config_.threads = 1;
    config_.window = 300;
    config_.lengths = {400};
    config_.cases = 2;
    config_.shots_from = folder_ + "problems";
    config_.max_tokens = 4;
  }

  nlohmann::ordered_json Run() {
    std::ostringstream progress;
    const auto results = RunEval(config_, &progress);
    EXPECT_TRUE(results.ok()) << results.status();
    return results.ok() ? *results : nlohmann::ordered_json();
  }

  std::string ErrorOf() {
    std::ostringstream progress;
    const auto results = RunEval(config_, &progress);
    EXPECT_EQ(results.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(results.status().message());
  }

  const std::string folder_ = testing::TempDir() + "/";
  EvalConfig config_;
};

TEST_F(RunEvalTest, PerplexityBothWays) {
  config_.kv_type = "f32";
  const auto engine = Run();
  EXPECT_EQ(engine["task"], "perplexity");
  EXPECT_EQ(engine["kv_type"], "f32");
  EXPECT_EQ(engine["texts"][0]["text"], "text");
  EXPECT_EQ(engine["texts"][0]["rows"][1]["adapter"], "tiny");
  EXPECT_EQ(engine["texts"][0]["rows"][1]["digest"].get<std::string>().size(), 64);
  config_.through = "torch";
  const auto torch = Run();
  EXPECT_TRUE(torch.contains("torch_version"));
  for (int v = 0; v < 2; ++v) {
    EXPECT_NEAR(torch["texts"][0]["rows"][v]["kl"].get<double>(),
                engine["texts"][0]["rows"][v]["kl"].get<double>(), 1e-5);
  }
}

TEST_F(RunEvalTest, EveryTaskThatGenerates) {
  config_.task = "retrieval";
  EXPECT_EQ(Run()["groups"][0]["rows"].size(), 3);
  config_.task = "gsm8k";
  config_.texts = {folder_ + "problems"};
  config_.shots = 1;
  EXPECT_EQ(Run()["problems"], 2);
  config_.limit = 1;
  EXPECT_EQ(Run()["problems"], 1);
  config_.task = "generation";
  config_.texts = {folder_ + "prompts"};
  EXPECT_EQ(Run()["texts"].size(), 1);
}

TEST_F(RunEvalTest, GenerationsNeedNoAdapter) {
  config_.task = "generation";
  config_.adapters = {};
  config_.texts = {folder_ + "prompts"};
  EXPECT_EQ(Run()["rows"].size(), 1);
}

TEST_F(RunEvalTest, SaysWhichFlagIsWrong) {
  const EvalConfig right = config_;
  const auto expect = [&](const std::string& part) {
    EXPECT_NE(ErrorOf().find(part), std::string::npos) << ErrorOf();
    config_ = right;
  };
  config_.task = "speed";
  expect("--task is \"speed\"");
  config_.through = "glass";
  expect("--through is \"glass\"");
  config_.task = "gsm8k", config_.through = "torch";
  expect("--through torch");
  config_.model = "";
  expect("--model");
  config_.adapters = {};
  expect("--adapters");
  config_.texts = {};
  expect("--text");
  config_.window = 1;
  expect("--window is 1");
  config_.window = 2000;  // the context is 1024
  expect("--window is 2000");
  config_.stride = 301;
  expect("stride of 301");
  config_.device = "abacus";
  expect("device \"abacus\"");
  config_.kv_type = "q4";
  expect("cache type \"q4\"");
  config_.max_step_tokens = 70;
  expect("--max_step_tokens is 70");
  config_.task = "retrieval", config_.lengths = {};
  expect("nothing to retrieve");
  config_.task = "gsm8k", config_.shots_from = "";
  expect("--shots_from");
  config_.task = "gsm8k", config_.texts.push_back("another");
  expect("--text");
}

}  // namespace
}  // namespace sieve
