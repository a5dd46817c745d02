#ifndef SIEVE_MODEL_CHECKPOINT_MAPPED_FILE_H_
#define SIEVE_MODEL_CHECKPOINT_MAPPED_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace sieve {

// A regular file's content in memory, read-only.
class MappedFile {
 public:
  // Maps the file. It must not be shortened meanwhile: reading beyond its new end would end the
  // process (SIGBUS). NOT_FOUND when there is no such file, PERMISSION_DENIED, or INVALID_ARGUMENT
  // for a folder, a pipe or the like.
  static absl::StatusOr<MappedFile> Open(const std::string& path);

  // Copies a file that others may write to. Also INVALID_ARGUMENT when it has more than
  // `max_bytes`, UNAVAILABLE when it becomes shorter meanwhile.
  static absl::StatusOr<MappedFile> Copy(const std::string& path, int64_t max_bytes);
  // The same of the file `name` in an open folder; PERMISSION_DENIED for a link unless they are
  // followed. Errors call it `path`.
  static absl::StatusOr<MappedFile> CopyIn(int folder, const std::string& name, bool follow_links,
                                           const std::string& path, int64_t max_bytes);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  const std::string& path() const { return path_; }
  // The content, page-aligned; empty for an empty file.
  std::string_view bytes() const { return bytes_; }

 private:
  MappedFile(std::string path, std::string_view bytes);
  static absl::StatusOr<MappedFile> CopyOpen(const std::string& path, int descriptor,
                                             int64_t max_bytes);

  std::string path_;
  std::string_view bytes_;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_MAPPED_FILE_H_
