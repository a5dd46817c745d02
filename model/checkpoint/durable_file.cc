#include "model/checkpoint/durable_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

namespace fs = std::filesystem;

absl::Status Error(int error, const std::string& path, absl::string_view what) {
  return absl::ErrnoToStatus(error, absl::StrCat(path, ": ", what));
}

absl::Status Rename(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  return Error(errno, from, absl::StrCat("renaming it to ", to, " failed"));
}

absl::Status SyncParent(const std::string& path) {
  const std::string parent = fs::path(path).parent_path();
  return SyncFolder(parent.empty() ? "." : parent);
}

absl::Status RemoveTree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  return error ? Error(error.value(), path, "removing it failed") : absl::OkStatus();
}

}  // namespace

absl::StatusOr<DurableFile> DurableFile::Create(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return Error(errno, path, "creating it failed");
  return DurableFile(path, fd);
}

DurableFile::DurableFile(DurableFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

DurableFile::~DurableFile() {
  if (fd_ >= 0) close(fd_);
}

absl::Status DurableFile::Append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(fd_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Error(errno, path_, "writing failed");
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

absl::Status DurableFile::Finish() {
  if (fsync(fd_) != 0) return Error(errno, path_, "writing failed");
  // Some file systems tell only now that there is no room.
  if (close(std::exchange(fd_, -1)) != 0) return Error(errno, path_, "writing failed");
  return absl::OkStatus();
}

absl::Status SyncFolder(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Error(errno, path, "opening it failed");
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  return error == 0 ? absl::OkStatus() : Error(error, path, "syncing it failed");
}

int ExchangePaths(const std::string& a, const std::string& b) {
  return renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0 ? 0 : errno;
}

absl::Status ReplaceFolder(const std::string& fresh, const std::string& dir,
                           int (*exchange)(const std::string&, const std::string&)) {
  if (absl::Status status = SyncFolder(fresh); !status.ok()) return status;
  std::error_code ignored;
  if (!fs::exists(fs::symlink_status(dir, ignored))) {
    absl::Status status = Rename(fresh, dir);
    if (status.ok()) status = SyncParent(dir);
    return status;
  }
  std::string old = fresh;
  if (const int error = exchange(fresh, dir); error == EINVAL || error == ENOSYS) {
    old = fresh + ".old";
    absl::Status status = RemoveTree(old);
    if (status.ok()) status = Rename(dir, old);
    if (!status.ok()) return status;
    status = Rename(fresh, dir);
    if (!status.ok()) {
      rename(old.c_str(), dir.c_str());
      return status;
    }
  } else if (error != 0) {
    return Error(error, fresh, absl::StrCat("putting it in the place of ", dir, " failed"));
  }
  absl::Status status = SyncParent(dir);
  if (status.ok()) status = RemoveTree(old);
  return status;
}

}  // namespace sieve
