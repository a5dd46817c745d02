#ifndef SIEVE_MODEL_CHECKPOINT_MAPPED_FILE_H_
#define SIEVE_MODEL_CHECKPOINT_MAPPED_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace sieve {

// A regular file mapped read-only; unmapped on destruction. The file must not be shortened
// meanwhile: reading beyond its new end would end the process (SIGBUS).
class MappedFile {
 public:
  // NOT_FOUND when there is no such file, PERMISSION_DENIED, or INVALID_ARGUMENT for a folder, a
  // pipe or the like.
  static absl::StatusOr<MappedFile> Open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  const std::string& path() const { return path_; }
  // The content, page-aligned; empty for an empty file.
  std::string_view bytes() const { return bytes_; }

 private:
  MappedFile(std::string path, std::string_view bytes) : path_(std::move(path)), bytes_(bytes) {}

  std::string path_;
  std::string_view bytes_;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_MAPPED_FILE_H_
