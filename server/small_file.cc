#include "server/small_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

constexpr int64_t kMaxBytes = 1 << 20;

absl::Status TooLarge(const std::string& path) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": larger than the ", kMaxBytes, " bytes that such a file may have"));
}

}  // namespace

absl::StatusOr<SmallFile> ReadSmallFile(const std::string& path) {
  // Without O_NONBLOCK opening a pipe would wait for its writer.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return absl::ErrnoToStatus(errno, path);
  auto close_fd = absl::MakeCleanup([fd] { close(fd); });
  struct stat info = {};
  if (fstat(fd, &info) != 0) return absl::ErrnoToStatus(errno, path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  }
  if (info.st_mode & S_IWOTH) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": every user of this machine may write it; chmod o-w it"));
  }
  if (info.st_size > kMaxBytes) return TooLarge(path);

  SmallFile file{.content = "", .mode = info.st_mode};
  char buffer[1 << 14];
  while (true) {
    const ssize_t count = read(fd, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, path);
    if (count == 0) return file;
    file.content.append(buffer, count);
    // It may grow while it is read.
    if (static_cast<int64_t>(file.content.size()) > kMaxBytes) return TooLarge(path);
  }
}

}  // namespace sieve
