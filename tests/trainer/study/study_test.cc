#include "trainer/study/study.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "tests/trainer/tiny_model.h"

namespace sieve {
namespace {

using nlohmann::json;

constexpr char kTails[] = R"({
  "title": "With and without <tail>",
  "run": {
    "adapter": {"window_blocks": 1, "selected_blocks": 2, "index_rank": 4},
    "corpus": [{"path": "text.txt"}],
    "sequence_length": 270,
    "calibration_sequences": 1,
    "stages": [{"kind": "layers", "steps": 2, "sequences": 1, "selected_blocks": [1]}]
  },
  "axes": [{"name": "tail", "variants": [{"name": "with"},
                                         {"name": "without", "run": {"adapter": {"tail": false}}}]}],
  "evaluation": {"texts": [{"name": "letters", "path": "text.txt", "window": 270, "windows": 3}],
                 "selected_blocks": [0, 1], "windows_at_once": 2}
})";

json Tails() { return json::parse(kTails); }

class StudyTest : public testing::Test {
 protected:
  StudyTest()
      : checkpoint_(OpenTinyModel({}, /*gguf=*/false)),
        tokenizer_(*Tokenizer::Create(checkpoint_->vocabulary())),
        llama_(checkpoint_->config(), checkpoint_->weights(), at::TensorOptions(at::kFloat)),
        folder_(testing::TempDir() + "/study") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ + "/text.txt") << SeededLetters(5000, 1);
  }

  StudyGrid Grid(const std::string& name, const json& object) {
    const std::string path = folder_ + "/" + name + ".json";
    std::ofstream(path) << object;
    auto grid = ReadStudyGrid(path, folder_);
    EXPECT_TRUE(grid.ok()) << grid.status();
    return *std::move(grid);
  }

  absl::Status Run(std::vector<StudyGrid> grids, const std::atomic<bool>* stop = nullptr,
                   const FrozenLlama* llama = nullptr) {
    progress_.str("");
    StudyJob job;
    job.llama = llama != nullptr ? llama : &llama_;
    job.tokenizer = tokenizer_.get();
    job.base_digest = std::string(64, 'a');
    job.grids = std::move(grids);
    job.out = folder_ + "/out";
    job.cache = folder_ + "/tokens";
    job.progress = &progress_;
    job.stop = stop;
    return RunStudies(job);
  }

  std::string Content(const std::string& name) const {
    std::ifstream file(folder_ + "/out/" + name);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  std::vector<json> Results(const std::string& name) const {
    std::istringstream lines(Content(name + ".jsonl"));
    std::vector<json> results;
    for (std::string line; std::getline(lines, line);) results.push_back(json::parse(line));
    return results;
  }

  int Said(const std::string& what) const {
    std::istringstream lines(progress_.str());
    int count = 0;
    for (std::string line; std::getline(lines, line);) {
      if (absl::EndsWith(line, what)) ++count;
    }
    return count;
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Tokenizer> tokenizer_;
  FrozenLlama llama_;
  const std::string folder_;
  std::ostringstream progress_;
};

TEST_F(StudyTest, EveryCellIsTrainedAndMeasured) {
  ASSERT_TRUE(Run({Grid("tails", Tails())}).ok());
  const std::vector<json> results = Results("tails");
  ASSERT_EQ(results.size(), 2);
  EXPECT_EQ(results[0]["cell"]["tail"], "with");
  EXPECT_EQ(results[1]["run"]["adapter"]["tail"], false);
  EXPECT_EQ(results[1]["adapter"]["tail"], false);
  EXPECT_GT(results[0]["parameters"], results[1]["parameters"]);
  for (const json& result : results) {
    EXPECT_EQ(result["log"].size(), 2);
    EXPECT_GT(result["training_seconds"], 0);
    const json& text = result["texts"][0];
    EXPECT_EQ(text["name"], "letters");
    EXPECT_EQ(text["windows"], 3);
    ASSERT_EQ(text["budgets"].size(), 2);
    const json& row = text["budgets"][1];
    EXPECT_EQ(row["selected_blocks"], 1);
    ASSERT_EQ(row["window_kl"].size(), 3);
    double sum = 0;
    for (const json& kl : row["window_kl"]) sum += kl.get<double>();
    EXPECT_NEAR(sum / 3, row["kl"].get<double>(), 1e-9);
  }
  const std::string tables = Content("tails.md");
  for (const char* part : {"# With and without <tail>", "## letters, 3 windows of 270 tokens",
                           "| 0 | without |", "KL minus the first cell's"}) {
    EXPECT_TRUE(absl::StrContains(tables, part)) << part << "\n" << tables;
  }
  EXPECT_TRUE(absl::StartsWith(Content("tails.svg"), "<svg"));
  EXPECT_TRUE(absl::StrContains(Content("tails_training.svg"), "error of the output"));
}

TEST_F(StudyTest, AFinishedCellIsNotRunAgain) {
  ASSERT_TRUE(Run({Grid("tails", Tails())}).ok());
  EXPECT_EQ(Said("trains"), 2);
  const std::string before = Content("tails.jsonl");
  ASSERT_TRUE(Run({Grid("tails", Tails())}).ok());
  EXPECT_EQ(Said("trains"), 0);
  EXPECT_EQ(Said("is finished"), 2);
  EXPECT_EQ(Content("tails.jsonl"), before);
  // What another study shares with it neither; what differs is run.
  json other = Tails();
  other["axes"][0]["variants"][1] = {{"name", "wide"},
                                     {"run", {{"adapter", {{"window_blocks", 2}}}}}};
  ASSERT_TRUE(Run({Grid("tails", Tails()), Grid("other", other)}).ok());
  EXPECT_EQ(Said("trains"), 1);
  EXPECT_EQ(Results("other")[0]["key"], Results("tails")[0]["key"]);
  EXPECT_EQ(Results("other")[0]["study"], "other");
}

TEST_F(StudyTest, AStoppedStudyGoesOnFromItsState) {
  const std::atomic<bool> stop = true;
  absl::Status status = Run({Grid("tails", Tails())}, &stop);
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  // Two steps of two cells, and after the last of each it stops before it measures.
  for (int i = 0; i < 3; ++i) status = Run({Grid("tails", Tails())}, &stop);
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  ASSERT_TRUE(Run({Grid("tails", Tails())}).ok());
  const std::vector<json> parts = Results("tails");
  std::filesystem::remove_all(folder_ + "/out");
  ASSERT_TRUE(Run({Grid("tails", Tails())}).ok());
  const std::vector<json> whole = Results("tails");
  ASSERT_EQ(parts.size(), whole.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    EXPECT_EQ(parts[i]["texts"], whole[i]["texts"]);
    EXPECT_EQ(parts[i]["log"].size(), whole[i]["log"].size());
  }
}

TEST_F(StudyTest, ACellWithoutStepsIsCalibratedOnly) {
  json object = Tails();
  object.erase("axes");
  object["run"]["stages"] = json::array();
  ASSERT_TRUE(Run({Grid("calibrated", object)}).ok());
  const std::vector<json> results = Results("calibrated");
  ASSERT_EQ(results.size(), 1);
  EXPECT_TRUE(results[0]["log"].empty());
  EXPECT_EQ(results[0]["texts"][0]["budgets"].size(), 2);
}

// As on a CPU and on a GPU.
TEST_F(StudyTest, ACellOfAnotherNumberTypeIsAnother) {
  json object = Tails();
  object.erase("axes");
  object["run"]["stages"] = json::array();
  ASSERT_TRUE(Run({Grid("calibrated", object)}).ok());
  const json before = Results("calibrated")[0];
  const FrozenLlama half(checkpoint_->config(), checkpoint_->weights(),
                         at::TensorOptions(at::kBFloat16));
  ASSERT_TRUE(Run({Grid("calibrated", object)}, nullptr, &half).ok());
  EXPECT_EQ(Said("is finished"), 0);
  EXPECT_NE(Results("calibrated")[0]["key"], before["key"]);
  EXPECT_NE(Results("calibrated")[0]["texts"], before["texts"]);
}

TEST_F(StudyTest, ADivergingCellIsAResult) {
  json object = Tails();
  object.erase("axes");
  // Without a block the loss is above the mean over both budgets, however little is learned.
  object["run"]["divergence"] = 1.001;
  object["run"]["stages"][0].update({{"steps", 40}, {"selected_blocks", {0, 2}}});
  ASSERT_TRUE(Run({Grid("diverging", object)}).ok());
  const std::vector<json> results = Results("diverging");
  ASSERT_EQ(results.size(), 1);
  ASSERT_TRUE(results[0].contains("error"));
  EXPECT_TRUE(absl::StrContains(results[0]["error"].get<std::string>(), "diverges"));
  EXPECT_FALSE(results[0].contains("texts"));
  EXPECT_TRUE(absl::StrContains(Content("diverging.md"), "diverges"));
  ASSERT_TRUE(Run({Grid("diverging", object)}).ok());
  EXPECT_EQ(Said("is finished"), 1);
}

TEST_F(StudyTest, WhatCannotWorkIsRefusedBeforeAnythingRuns) {
  json object = Tails();
  object["axes"][0]["variants"][1]["run"]["adapter"]["index_rank"] = 99;
  EXPECT_EQ(Run({Grid("bad", object)}).code(), absl::StatusCode::kInvalidArgument);
  object = Tails();
  object["evaluation"]["texts"][0]["window"] = 6000;
  EXPECT_EQ(Run({Grid("short", object)}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Run({Grid("tails", Tails()), Grid("tails", Tails())}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Said("trains"), 0);
}

}  // namespace
}  // namespace sieve
