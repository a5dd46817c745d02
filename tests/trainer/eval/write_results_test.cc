#include "trainer/eval/write_results.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "absl/strings/match.h"

namespace sieve {
namespace {

class WriteResultsTest : public testing::Test {
 protected:
  WriteResultsTest() : folder_(testing::TempDir() + "/results") {
    std::filesystem::remove_all(folder_);
  }

  static std::string Content(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  const std::string folder_;
  // A text that ends within a character.
  const nlohmann::ordered_json results_ = {
      {"task", "gsm8k"}, {"problems", 2}, {"shots", 1}, {"rows", nlohmann::ordered_json::array()},
      {"text", "\xc3"},
  };
  std::ostringstream out_;
};

TEST_F(WriteResultsTest, GoToFilesInFoldersThatAreMade) {
  const ResultFiles files = {.json = folder_ + "/eval/a.json", .table = folder_ + "/eval/a.md"};
  ASSERT_TRUE(PrepareResults(files).ok());
  ASSERT_TRUE(WriteResults(results_, files, out_).ok());
  EXPECT_EQ(nlohmann::json::parse(Content(files.json))["problems"], 2);
  EXPECT_TRUE(absl::StrContains(Content(files.table), "GSM8K: 2 problems"));
  EXPECT_EQ(out_.str(), "");
}

TEST_F(WriteResultsTest, WithoutFilesTheJsonIsPrinted) {
  ASSERT_TRUE(PrepareResults({}).ok());
  ASSERT_TRUE(WriteResults(results_, {}, out_).ok());
  EXPECT_EQ(nlohmann::json::parse(out_.str())["problems"], 2);
}

TEST_F(WriteResultsTest, WithAFileOfJsonTheTablesArePrinted) {
  const ResultFiles files = {.json = folder_ + "/a.json", .table = ""};
  ASSERT_TRUE(PrepareResults(files).ok());
  ASSERT_TRUE(WriteResults(results_, files, out_).ok());
  EXPECT_TRUE(absl::StartsWith(out_.str(), "GSM8K: 2 problems"));
}

TEST_F(WriteResultsTest, WhatCannotBeWrittenIsPrinted) {
  const ResultFiles files = {.json = folder_ + "/gone/a.json", .table = folder_ + "/gone/a.md"};
  const absl::Status status = WriteResults(results_, files, out_);
  EXPECT_TRUE(absl::StrContains(status.message(), "a.json")) << status;
  EXPECT_TRUE(absl::StrContains(out_.str(), "\"problems\": 2")) << out_.str();
  EXPECT_TRUE(absl::StrContains(out_.str(), "GSM8K: 2 problems")) << out_.str();
}

TEST_F(WriteResultsTest, AFileWithoutAFolderIsRefusedBefore) {
  std::ofstream(folder_) << "a file";
  EXPECT_FALSE(PrepareResults({.json = folder_ + "/a.json", .table = ""}).ok());
  EXPECT_FALSE(PrepareResults({.json = "", .table = folder_ + "/a.md"}).ok());
}

}  // namespace
}  // namespace sieve
