#include "model/checkpoint/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "tests/model/checkpoint/test_files.h"
#include "tests/testdata/files.h"

namespace sieve {
namespace {

TEST(MappedFileTest, MapsTheWholeFile) {
  const std::string path = TestFolder() + "/file";
  const std::string content(70000, 'x');  // not a whole number of pages
  ASSERT_TRUE(WriteFile(path, content).ok());
  const auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->bytes(), content);
  EXPECT_EQ(file->path(), path);
}

TEST(MappedFileTest, EmptyFile) {
  const std::string path = TestFolder() + "/file";
  ASSERT_TRUE(WriteFile(path, "").ok());
  const auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->bytes().empty());
}

TEST(MappedFileTest, MovesItsMapping) {
  const std::string dir = TestFolder();
  ASSERT_TRUE(WriteFile(dir + "/a", "aa").ok());
  ASSERT_TRUE(WriteFile(dir + "/b", "bb").ok());
  MappedFile a = *MappedFile::Open(dir + "/a");
  MappedFile moved = std::move(a);
  EXPECT_EQ(moved.bytes(), "aa");
  moved = *MappedFile::Open(dir + "/b");
  EXPECT_EQ(moved.bytes(), "bb");
}

TEST(MappedFileTest, ACopyStaysWhateverBecomesOfTheFile) {
  const std::string path = TestFolder() + "/file";
  const std::string content(70000, 'x');
  ASSERT_TRUE(WriteFile(path, content).ok());
  const auto copy = MappedFile::Copy(path, 70000);
  ASSERT_TRUE(copy.ok()) << copy.status();
  ASSERT_EQ(truncate(path.c_str(), 0), 0);
  EXPECT_EQ(copy->bytes(), content);
  const auto empty = MappedFile::Copy(path, 70000);
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_TRUE(empty->bytes().empty());
}

TEST(MappedFileTest, ACopyHasALimit) {
  const std::string dir = TestFolder();
  ASSERT_TRUE(WriteFile(dir + "/file", std::string(11, 'x')).ok());
  ExpectInvalid(MappedFile::Copy(dir + "/file", 10).status(), dir + "/file",
                "11 bytes, expected at most 10");
  ExpectInvalid(MappedFile::Copy(dir, 10).status(), dir, "not a regular file");
}

TEST(MappedFileTest, RefusesWhatIsNoFile) {
  const std::string dir = TestFolder();
  EXPECT_EQ(MappedFile::Open(dir + "/none").status().code(), absl::StatusCode::kNotFound);
  ExpectInvalid(MappedFile::Open(dir).status(), dir, "not a regular file");
  const std::string pipe = dir + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  ExpectInvalid(MappedFile::Open(pipe).status(), pipe, "not a regular file");  // and does not wait
}

}  // namespace
}  // namespace sieve
