#include "tests/fuzz/scratch.h"

#include <stdlib.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "tests/fuzz/check.h"
#include "tests/testdata/files.h"

namespace sieve {
namespace {

struct Folder {
  Folder() {
    const char* of_test = std::getenv("TEST_TMPDIR");
    path = of_test != nullptr ? of_test : std::filesystem::temp_directory_path().string();
    path += "/fuzz.XXXXXX";
    FUZZ_CHECK(mkdtemp(path.data()) != nullptr, path);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string path;
};

}  // namespace

const std::string& ScratchFolder() {
  static const Folder folder;
  return folder.path;
}

std::string PutScratchFile(std::string_view name, std::string_view bytes) {
  const std::string path = absl::StrCat(ScratchFolder(), "/", std::string(name));
  if (bytes.empty()) {
    std::filesystem::remove(path);
    return path;
  }
  const absl::Status status = WriteFile(path, bytes);
  FUZZ_CHECK(status.ok(), status.ToString());
  return path;
}

}  // namespace sieve
