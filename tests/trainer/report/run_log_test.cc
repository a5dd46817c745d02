#include "trainer/report/run_log.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/match.h"

namespace sieve {
namespace {

using nlohmann::json;

class RunLogTest : public testing::Test {
 protected:
  RunLogTest() : folder_(testing::TempDir() + "/log") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }

  static StepReport Report(int64_t stage, int64_t step, double loss) {
    StepReport report;
    report.stage = stage;
    report.step = report.step_of_run = step;
    report.steps = 3;
    report.loss = loss;
    report.terms = {{"kl", loss / 2}};
    report.selected_blocks = 4;
    return report;
  }

  const std::string folder_;
  std::ostringstream progress_;
};

TEST_F(RunLogTest, AStepIsALine) {
  auto log = RunLog::Open(folder_, &progress_);
  ASSERT_TRUE(log.ok()) << log.status();
  StepReport report = Report(1, 1, 0.5);
  report.left = absl::Seconds(61.5);
  report.branches = {{0.5, 0.25, 0.25}, {NAN, NAN, NAN}};
  ASSERT_TRUE(log->Add(report).ok());
  ASSERT_TRUE(log->Add(Report(1, 2, 0.4)).ok());  // within five seconds: not shown
  ASSERT_TRUE(log->Add(Report(1, 3, 0.3)).ok());  // the last one is
  EXPECT_EQ(progress_.str(),
            "stage 1, step 1 of 3: loss 0.50000 (kl 0.25000), mean 0.00000, 0 tokens/s, 1m1s left\n"
            "stage 1, step 3 of 3: loss 0.30000 (kl 0.15000), mean 0.00000, 0 tokens/s, 0 left\n");
  const json lines = ReadRunLog(folder_);
  ASSERT_EQ(lines.size(), 3);
  EXPECT_EQ(lines[0]["kl"], 0.25);
  EXPECT_EQ(lines[0]["selected_blocks"], 4);
  EXPECT_EQ(lines[0]["branches"]["selected"], json::parse("[0.25, null]"));
  EXPECT_FALSE(lines[1].contains("branches"));
  EXPECT_FALSE(std::filesystem::is_empty(folder_ + "/tensorboard"));
}

TEST_F(RunLogTest, AStepThatWasDoneAgainCountsOnce) {
  {
    auto log = RunLog::Open(folder_, nullptr);
    for (int step = 1; step <= 3; ++step) ASSERT_TRUE(log->Add(Report(1, step, 1)).ok());
    ASSERT_TRUE(log->Add(Report(2, 1, 1)).ok());
  }
  std::ofstream(folder_ + "/log.jsonl", std::ios::app) << "{\"stage\": 1, \"st";
  auto log = RunLog::Open(folder_, nullptr);
  ASSERT_TRUE(log->Add(Report(1, 3, 2)).ok());
  const json lines = ReadRunLog(folder_);
  ASSERT_EQ(lines.size(), 4);
  EXPECT_EQ(lines[1]["loss"], 1);
  EXPECT_EQ(lines[2]["loss"], 2);
  EXPECT_EQ(lines[3]["stage"], 2);
}

TEST_F(RunLogTest, NoLogIsNoLines) { EXPECT_TRUE(ReadRunLog(folder_ + "/none").empty()); }

TEST_F(RunLogTest, WhatCannotBeWrittenIsNamed) {
  std::filesystem::create_directories(folder_ + "/log.jsonl");
  const auto log = RunLog::Open(folder_, nullptr);
  EXPECT_EQ(log.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(absl::StrContains(log.status().message(), "log.jsonl")) << log.status();
}

}  // namespace
}  // namespace sieve
