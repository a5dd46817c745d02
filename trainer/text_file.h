#ifndef SIEVE_TRAINER_TEXT_FILE_H_
#define SIEVE_TRAINER_TEXT_FILE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sieve {

// The bytes of a file, unpacked when its first bytes are those of gzip or of Zstandard; its name
// does not matter.
class TextFile {
 public:
  // NOT_FOUND for a file that cannot be opened.
  static absl::StatusOr<std::unique_ptr<TextFile>> Open(const std::string& path);
  virtual ~TextFile() = default;

  // More bytes, none at the end. DATA_LOSS for a damaged or truncated file.
  virtual absl::StatusOr<std::string> Read() = 0;
};

absl::StatusOr<std::string> ReadAll(TextFile& file);

}  // namespace sieve

#endif  // SIEVE_TRAINER_TEXT_FILE_H_
