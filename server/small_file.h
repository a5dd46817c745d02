#ifndef SIEVE_SERVER_SMALL_FILE_H_
#define SIEVE_SERVER_SMALL_FILE_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace sieve {

struct SmallFile {
  std::string content;
  mode_t mode = 0;
};

// Reads a regular file that the operator keeps and the server trusts. It is copied, not mapped,
// since it may be rewritten at any time. Errors name it: NOT_FOUND, PERMISSION_DENIED and the like;
// INVALID_ARGUMENT for what is no regular file, has more than 1 MiB, or may be written by every
// user of the machine.
absl::StatusOr<SmallFile> ReadSmallFile(const std::string& path);

}  // namespace sieve

#endif  // SIEVE_SERVER_SMALL_FILE_H_
