#include "model/checkpoint/mapped_file.h"

#include <fcntl.h>
#include <sanitizer/asan_interface.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

// The last page reads as zeros after the file's end. AddressSanitizer, where it is on, is to see
// what is read there.
std::string_view AfterEnd(std::string_view bytes) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return {bytes.data() + bytes.size(), (page - bytes.size() % page) % page};
}

// A regular file, open for reading.
struct OpenFile {
  explicit OpenFile(int descriptor) : fd(descriptor) {}
  OpenFile(OpenFile&& other) noexcept : fd(std::exchange(other.fd, -1)), size(other.size) {}
  ~OpenFile() {
    if (fd >= 0) close(fd);
  }

  int fd;
  size_t size = 0;
};

// Without O_NONBLOCK opening a pipe would wait for its writer.
constexpr int kOpenFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;

// Takes what open() returned for `path`.
absl::StatusOr<OpenFile> CheckRegular(const std::string& path, int descriptor) {
  OpenFile file(descriptor);
  struct stat info = {};
  if (file.fd < 0 || fstat(file.fd, &info) != 0) return absl::ErrnoToStatus(errno, path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  }
  file.size = static_cast<size_t>(info.st_size);
  return file;
}

absl::Status ReadAll(const std::string& path, const OpenFile& file, char* data) {
  for (size_t at = 0; at < file.size;) {
    const ssize_t count = pread(file.fd, data + at, file.size - at, static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": reading failed"));
    if (count == 0) {
      return absl::UnavailableError(absl::StrCat(path, ": was ", file.size, " bytes and became ",
                                                 at, " while it was read; try again"));
    }
    at += static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  const absl::StatusOr<OpenFile> file = CheckRegular(path, open(path.c_str(), kOpenFlags));
  if (!file.ok()) return file.status();
  if (file->size == 0) return MappedFile(path, {});
  void* data = mmap(nullptr, file->size, PROT_READ, MAP_SHARED, file->fd, 0);
  if (data == MAP_FAILED) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": mapping failed"));
  return MappedFile(path, {static_cast<const char*>(data), file->size});
}

absl::StatusOr<MappedFile> MappedFile::Copy(const std::string& path, int64_t max_bytes) {
  return CopyOpen(path, open(path.c_str(), kOpenFlags), max_bytes);
}

absl::StatusOr<MappedFile> MappedFile::CopyIn(int folder, const std::string& name,
                                              bool follow_links, const std::string& path,
                                              int64_t max_bytes) {
  const int descriptor = openat(folder, name.c_str(), kOpenFlags | (follow_links ? 0 : O_NOFOLLOW));
  if (descriptor < 0 && errno == ELOOP) {
    return absl::PermissionDeniedError(absl::StrCat(path, ": is a symbolic link; expected a file"));
  }
  return CopyOpen(path, descriptor, max_bytes);
}

absl::StatusOr<MappedFile> MappedFile::CopyOpen(const std::string& path, int descriptor,
                                                int64_t max_bytes) {
  const absl::StatusOr<OpenFile> file = CheckRegular(path, descriptor);
  if (!file.ok()) return file.status();
  if (file->size > static_cast<size_t>(max_bytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", file->size, " bytes, expected at most ", max_bytes));
  }
  if (file->size == 0) return MappedFile(path, {});
  void* data =
      mmap(nullptr, file->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, ": no memory for its ", file->size, " bytes"));
  }
  const absl::Status read = ReadAll(path, *file, static_cast<char*>(data));
  MappedFile copy(path, {static_cast<const char*>(data), file->size});
  if (!read.ok()) return read;
  return copy;
}

MappedFile::MappedFile(std::string path, std::string_view bytes)
    : path_(std::move(path)), bytes_(bytes) {
  if (bytes_.empty()) return;
  ASAN_POISON_MEMORY_REGION(AfterEnd(bytes_).data(), AfterEnd(bytes_).size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (bytes_.empty()) return;
  ASAN_UNPOISON_MEMORY_REGION(AfterEnd(bytes_).data(), AfterEnd(bytes_).size());
  munmap(const_cast<char*>(bytes_.data()), bytes_.size());
}

}  // namespace sieve
