#ifndef SIEVE_SERVER_SMALL_FILE_H_
#define SIEVE_SERVER_SMALL_FILE_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace sieve {

// Tells one version of a file from another.
struct FileStamp {
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t size = 0;  // bytes
  int64_t modified_ns = 0;
  int64_t changed_ns = 0;  // of content or attributes; no program can set it

  bool operator==(const FileStamp&) const = default;
};

struct SmallFile {
  std::string content;
  FileStamp stamp;  // from before the content was read
  mode_t mode = 0;
};

// Reads a regular file. It is copied, not mapped, since it may be rewritten at any time. NOT_FOUND,
// PERMISSION_DENIED and the like with the path; INVALID_ARGUMENT for what is no regular file or
// has more than `max_bytes`.
absl::StatusOr<SmallFile> ReadSmallFile(const std::string& path, int64_t max_bytes);

absl::StatusOr<FileStamp> StampOf(const std::string& path);

}  // namespace sieve

#endif  // SIEVE_SERVER_SMALL_FILE_H_
