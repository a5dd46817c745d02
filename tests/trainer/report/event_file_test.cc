#include "trainer/report/event_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "trainer/report/crc32c.h"
#include "trainer/report/event.pb.h"

namespace sieve {
namespace {

TEST(Crc32c, TheVectorsOfRfc3720) {
  std::string ascending(32, '\0'), descending(32, '\0');
  for (int i = 0; i < 32; ++i) {
    ascending[i] = static_cast<char>(i);
    descending[i] = static_cast<char>(31 - i);
  }
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aa);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43);
  EXPECT_EQ(Crc32c(ascending), 0x46dd794e);
  EXPECT_EQ(Crc32c(descending), 0x113fdb5c);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283);
  EXPECT_EQ(Crc32c(""), 0);
}

template <typename T>
T Number(const std::string& bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

uint32_t Unmasked(uint32_t masked) {
  const uint32_t rotated = masked - 0xa282ead8;
  return (rotated >> 17) | (rotated << 15);
}

// The data of a file's records, whose framing is checked.
std::vector<std::string> Records(const std::string& bytes) {
  std::vector<std::string> records;
  size_t at = 0;
  while (at + 12 <= bytes.size()) {
    const uint64_t length = Number<uint64_t>(bytes, at);
    EXPECT_EQ(Unmasked(Number<uint32_t>(bytes, at + 8)), Crc32c(bytes.substr(at, 8)));
    EXPECT_LE(at + 16 + length, bytes.size());
    if (at + 16 + length > bytes.size()) break;
    records.push_back(bytes.substr(at + 12, length));
    EXPECT_EQ(Unmasked(Number<uint32_t>(bytes, at + 12 + length)), Crc32c(records.back()));
    at += 16 + length;
  }
  EXPECT_EQ(at, bytes.size());
  return records;
}

TEST(EventFile, RecordsAreFramed) {
  EXPECT_EQ(Records(TfRecord("") + TfRecord("abc")), std::vector<std::string>({"", "abc"}));
}

TEST(EventFile, ScalarsCanBeReadBack) {
  const std::string folder = testing::TempDir() + "/events";
  std::filesystem::remove_all(folder);
  for (int run = 0; run < 2; ++run) {  // at once, in the same second
    auto file = EventFile::Create(folder);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE(file->Add(7 + run, {{"loss/total", 0.25}, {"rate", 1e-3}, {"zero", 0}}).ok());
  }
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    ++files;
    EXPECT_NE(entry.path().string().find("tfevents"), std::string::npos);
    std::ifstream file(entry.path(), std::ios::binary);
    std::stringstream bytes;
    bytes << file.rdbuf();
    const std::vector<std::string> records = Records(bytes.str());
    ASSERT_EQ(records.size(), 2);
    tensorboard::Event version, event;
    ASSERT_TRUE(version.ParseFromString(records[0]));
    EXPECT_EQ(version.file_version(), "brain.Event:2");
    EXPECT_GT(version.wall_time(), 1.6e9);
    ASSERT_TRUE(event.ParseFromString(records[1]));
    EXPECT_GE(event.step(), 7);
    ASSERT_EQ(event.summary().value_size(), 3);
    EXPECT_EQ(event.summary().value(0).tag(), "loss/total");
    EXPECT_EQ(event.summary().value(0).simple_value(), 0.25f);
    EXPECT_EQ(event.summary().value(1).simple_value(), 1e-3f);
    EXPECT_TRUE(event.summary().value(2).has_simple_value());  // zero is a value too
  }
  EXPECT_EQ(files, 2);
}

TEST(EventFile, AFolderThatCannotBeMadeIsAnError) {
  const std::string path = testing::TempDir() + "/file";
  std::ofstream(path) << "x";
  EXPECT_EQ(EventFile::Create(path + "/folder").status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace sieve
