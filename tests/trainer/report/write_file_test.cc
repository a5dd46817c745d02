#include "trainer/report/write_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/match.h"

namespace sieve {
namespace {

class WriteFileTest : public testing::Test {
 protected:
  WriteFileTest() : folder_(testing::TempDir() + "/files") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }

  std::string Content(const std::string& name) const {
    std::ifstream file(folder_ + "/" + name);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  const std::string folder_;
};

TEST_F(WriteFileTest, PreparingMakesTheFolderAndLeavesNothing) {
  const std::string path = folder_ + "/a/b/c.json";
  ASSERT_TRUE(PrepareFile(path).ok());
  EXPECT_TRUE(std::filesystem::is_empty(folder_ + "/a/b"));
  ASSERT_TRUE(WriteFile(path, "new").ok());
  ASSERT_TRUE(PrepareFile(path).ok());
  EXPECT_EQ(Content("a/b/c.json"), "new");
}

TEST_F(WriteFileTest, WhatCannotBeWrittenIsSaidBefore) {
  std::ofstream(folder_ + "/file") << "old";
  std::filesystem::create_directories(folder_ + "/taken");
  for (const char* name : {"/file/c.json", "/taken"}) {
    const absl::Status status = PrepareFile(folder_ + name);
    EXPECT_FALSE(status.ok()) << name;
    EXPECT_TRUE(absl::StrContains(status.message(), folder_)) << status;
  }
  EXPECT_FALSE(PrepareFile("/dev/null").ok());
  EXPECT_FALSE(WriteFile(folder_ + "/file/c.json", "new").ok());
  EXPECT_EQ(Content("file"), "old");
}

}  // namespace
}  // namespace sieve
