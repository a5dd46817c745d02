#include "model/checkpoint/model_root.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

namespace fs = std::filesystem;

// Folders within the checkpoint's own, such as original/ with tokenizer.model.
constexpr int kMaxDepth = 1;

// Both without links.
bool IsInside(const fs::path& root, const fs::path& path) {
  return std::mismatch(root.begin(), root.end(), path.begin(), path.end()).first == root.end();
}

class RootCheck {
 public:
  explicit RootCheck(fs::path root) : root_(std::move(root)) {}

  absl::Status Check(const fs::path& path) const {
    std::error_code error;
    const fs::path real = fs::canonical(path, error);
    if (error) return absl::NotFoundError(absl::StrCat(path.string(), ": ", error.message()));
    if (IsInside(root_, real)) return absl::OkStatus();
    const std::string way =
        real == path ? "" : absl::StrCat(" leads to ", real.string(), ", which");
    return absl::PermissionDeniedError(
        absl::StrCat(path.string(), way, " is outside the model root ", root_.string()));
  }

  absl::Status CheckFolder(const fs::path& folder, int depth) const {
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
      absl::Status status = Check(it->path());
      std::error_code ignored;
      if (status.ok() && depth < kMaxDepth && fs::is_directory(it->path(), ignored)) {
        status = CheckFolder(it->path(), depth + 1);
      }
      if (!status.ok()) return status;
    }
    if (error) {
      return absl::InvalidArgumentError(absl::StrCat(folder.string(), ": ", error.message()));
    }
    return absl::OkStatus();
  }

 private:
  const fs::path root_;
};

}  // namespace

absl::Status CheckInsideModelRoot(const std::string& root, const std::string& checkpoint) {
  std::error_code error;
  const fs::path real_root = fs::canonical(root, error);
  if (error) {
    return absl::NotFoundError(absl::StrCat("model root ", root, ": ", error.message()));
  }
  const RootCheck check(real_root);
  if (absl::Status status = check.Check(checkpoint); !status.ok()) return status;
  if (fs::is_directory(checkpoint, error)) return check.CheckFolder(checkpoint, 0);
  // A .safetensors file stands for its folder.
  if (fs::path(checkpoint).extension() != ".safetensors") return absl::OkStatus();
  const fs::path folder = fs::path(checkpoint).parent_path();
  return check.CheckFolder(folder.empty() ? "." : folder, 0);
}

}  // namespace sieve
