#ifndef SIEVE_TESTS_MODEL_CHECKPOINT_TEST_FILES_H_
#define SIEVE_TESTS_MODEL_CHECKPOINT_TEST_FILES_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/status/status.h"

namespace sieve {

// An empty folder of the running test's own.
inline std::string TestFolder() {
  const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
  std::string name = std::string(test.test_suite_name()) + "_" + test.name();
  for (char& c : name) c = c == '/' ? '_' : c;
  const std::string dir = testing::TempDir() + "/" + name;
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir);
  return dir;
}

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

// Expects INVALID_ARGUMENT with a message that names all of `parts`.
template <typename... Parts>
void ExpectInvalid(const absl::Status& status, const Parts&... parts) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  for (const std::string& part : {std::string(parts)...}) {
    EXPECT_NE(std::string(status.message()).find(part), std::string::npos)
        << "no \"" << part << "\" in: " << status.message();
  }
}

}  // namespace sieve

#endif  // SIEVE_TESTS_MODEL_CHECKPOINT_TEST_FILES_H_
