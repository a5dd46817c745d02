#include "trainer/report/run_report.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "absl/strings/match.h"
#include "model/adapter/adapter_file.h"
#include "tests/trainer/tiny_model.h"

namespace sieve {
namespace {

using nlohmann::json;

class RunReportTest : public testing::Test {
 protected:
  RunReportTest() : run_(testing::TempDir() + "/a & b") {
    std::filesystem::remove_all(run_);
    std::filesystem::create_directories(run_ + "/eval");
    const auto checkpoint = OpenTinyModel({}, /*gguf=*/false);
    AdapterConfig config = TinyAdapterConfig(checkpoint->config());
    config.dense_layers = {0};
    EXPECT_TRUE(WriteAdapter(SeededAdapter(config, 1), run_ + "/adapter", DType::kF32).ok());
  }

  void WriteLog() {
    std::ofstream log(run_ + "/log.jsonl");
    for (int step = 1; step <= 4; ++step) {
      log << json{{"stage", 1},
                  {"step", step},
                  {"output", 1.0 / step},
                  {"kl", 0},
                  {"selected_blocks", step % 2},
                  {"gradient_norm", 0.1},
                  {"vector_rate", 0.01},
                  {"matrix_rate", 0.001},
                  {"tokens_per_second", 100},
                  {"branches",
                   {{"base", {nullptr, 0.5}},
                    {"selected", {nullptr, 0.3}},
                    {"compressed", {nullptr, 0.2}}}}}
          << "\n";
    }
  }

  std::string Report() {
    const absl::Status status = WriteRunReport(run_, 1000);
    EXPECT_TRUE(status.ok()) << status;
    std::ifstream file(run_ + "/report.html");
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  const std::string run_;
};

TEST_F(RunReportTest, HasAllThatARunHas) {
  WriteLog();
  json chosen = json::array({json::array(), json::array()});
  for (int head = 0; head < 2; ++head) {
    chosen[1].push_back(json::array({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0}));
  }
  std::ofstream(run_ + "/probe.json")
      << json{{"blocks", 4}, {"sink_blocks", 1}, {"window_blocks", 1}, {"chosen", chosen}};
  std::ofstream(run_ + "/eval/wiki.json") << R"({"task": "perplexity", "window": 5, "stride": 5,
    "texts": [{"text": "T<", "windows": 2, "rows": [{"adapter": "a", "selected_blocks": 4,
    "density": 0.5, "dense_perplexity": 3, "ratio": 1.0123, "ratio_interval": [1.0, 1.02],
    "kl": 0.5, "agreement": 0.9}]}]})";
  const std::string page = Report();
  for (const char* part :
       {"Training run a &amp; b", "Stage 1: error of the attention", "1 blocks selected",
        "Weight of compressed", "By layer, at the end", "Layer 1, key/value head 1", "T&lt;",
        "1.0123 [1.0000, 1.0200]", "% of the base", "dense_layers", "Norm of the gradient"}) {
    EXPECT_TRUE(absl::StrContains(page, part)) << part;
  }
  // Nothing is fetched and nothing runs.
  for (const char* part :
       {"<script", "http://www.w3.org/1999", "src=", "url(", "nan", "Layer 0,"}) {
    EXPECT_FALSE(absl::StrContains(page, part)) << part;
  }
}

TEST_F(RunReportTest, LeavesOutWhatARunHasNot) {
  const std::string page = Report();
  for (const char* part : {"Losses", "Branch weights", "What is selected", "Evaluation"}) {
    EXPECT_FALSE(absl::StrContains(page, part)) << part;
  }
  EXPECT_TRUE(absl::StrContains(page, "Parameters"));
}

TEST_F(RunReportTest, WhatIsMalformedIsNamedOrLeftOut) {
  std::ofstream(run_ + "/probe.json") << json{{"blocks", 4}, {"chosen", {{}, {{1, 2, 3}, "x"}}}};
  EXPECT_FALSE(absl::StrContains(Report(), "What is selected"));
  std::ofstream(run_ + "/eval/bad.json") << "{";
  const absl::Status status = WriteRunReport(run_, 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(status.message(), "bad.json")) << status;
  for (const char* results :
       {R"({"task": "perplexity"})", R"({"task": []})", R"({"task": "perplexity", "texts": 1})",
        R"({"task": "retrieval", "groups": [{}]})", R"({"task": "gsm8k", "problems": "x"})",
        R"({"task": "generation", "prompts": 1, "rows": [5]})",
        R"({"task": "gsm8k", "problems": 1, "shots": 1,
            "rows": [{"rate": 1, "interval": []}]})"}) {
    std::ofstream(run_ + "/eval/bad.json") << results;
    const absl::Status named = WriteRunReport(run_, 0);
    EXPECT_EQ(named.code(), absl::StatusCode::kInvalidArgument) << results;
    EXPECT_TRUE(absl::StrContains(named.message(), "bad.json")) << named;
  }
  EXPECT_EQ(WriteRunReport(run_ + "/none", 0).code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace sieve
