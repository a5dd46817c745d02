// Runs a fuzz target over its kept inputs: every file of tests/fuzz/{corpus,regressions}/<name>,
// the argument. Other arguments are input files.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

namespace fs = std::filesystem;

class Replay : public testing::Test {
 public:
  explicit Replay(fs::path path) : path_(std::move(path)) {}

  void TestBody() override {
    std::ifstream file(path_, std::ios::binary);
    ASSERT_TRUE(file.is_open()) << path_;
    // Of exactly the input's size, so that AddressSanitizer sees what is read beyond it.
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()),
              0);
  }

 private:
  const fs::path path_;
};

void Register(const std::string& suite, const fs::path& path) {
  testing::RegisterTest(suite.c_str(), path.filename().c_str(), nullptr, nullptr, __FILE__,
                        __LINE__, [path]() -> testing::Test* { return new Replay(path); });
}

// Returns the number of files.
size_t RegisterFolder(const std::string& suite, const std::string& folder) {
  std::vector<fs::path> paths;
  std::error_code absent;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, absent)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  for (const fs::path& path : paths) Register(suite, path);
  return paths.size();
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (fs::is_regular_file(argument)) {
      Register("Input", argument);
    } else if (RegisterFolder("Corpus", "tests/fuzz/corpus/" + argument) == 0) {
      std::fprintf(stderr, "tests/fuzz/corpus/%s holds no inputs\n", argument.c_str());
      return 1;
    } else {
      RegisterFolder("Regression", "tests/fuzz/regressions/" + argument);
    }
  }
  return RUN_ALL_TESTS();
}
