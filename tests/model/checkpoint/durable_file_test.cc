#include "model/checkpoint/durable_file.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "tests/model/checkpoint/test_files.h"

namespace sieve {
namespace {

namespace fs = std::filesystem;

class ReplaceFolderTest : public testing::Test {
 protected:
  void Write(const std::string& folder, const std::string& content) {
    fs::create_directory(folder);
    auto file = DurableFile::Create(folder + "/file");
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE(file->Append(content.substr(0, 1)).ok());
    ASSERT_TRUE(file->Append(content.substr(1)).ok());
    ASSERT_TRUE(file->Finish().ok());
  }
  void ExpectOnly(const std::string& content) {
    EXPECT_EQ(ReadFile(dir_ + "/file"), content);
    EXPECT_EQ(std::distance(fs::directory_iterator(root_), fs::directory_iterator()), 1);
  }

  const std::string root_ = TestFolder();
  const std::string dir_ = root_ + "/dir";
  const std::string fresh_ = root_ + "/fresh";
};

TEST_F(ReplaceFolderTest, MovesWhereNothingWas) {
  Write(fresh_, "new");
  const absl::Status status = ReplaceFolder(fresh_, dir_);
  ASSERT_TRUE(status.ok()) << status;
  ExpectOnly("new");
}

TEST_F(ReplaceFolderTest, SwapsWithWhatWasThere) {
  Write(dir_, "old");
  Write(fresh_, "new");
  const absl::Status status = ReplaceFolder(fresh_, dir_);
  ASSERT_TRUE(status.ok()) << status;
  ExpectOnly("new");
}

TEST_F(ReplaceFolderTest, RenamesWhereTheFileSystemCannotSwap) {
  for (const auto exchange : {+[](const std::string&, const std::string&) { return EINVAL; },
                              +[](const std::string&, const std::string&) { return ENOSYS; }}) {
    Write(dir_, "old");
    Write(fresh_, "new");
    fs::create_directory(fresh_ + ".old");  // of a writer that was killed
    const absl::Status status = ReplaceFolder(fresh_, dir_, exchange);
    ASSERT_TRUE(status.ok()) << status;
    ExpectOnly("new");
  }
}

TEST_F(ReplaceFolderTest, AFailedSwapLeavesTheOldFolder) {
  Write(dir_, "old");
  Write(fresh_, "new");
  const absl::Status status =
      ReplaceFolder(fresh_, dir_, [](const std::string&, const std::string&) { return EACCES; });
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(ReadFile(dir_ + "/file"), "old");
}

TEST_F(ReplaceFolderTest, AMissingFreshFolderIsAnError) {
  Write(dir_, "old");
  EXPECT_EQ(ReplaceFolder(fresh_, dir_).code(), absl::StatusCode::kNotFound);
  ExpectOnly("old");
}

}  // namespace
}  // namespace sieve
