#ifndef SIEVE_TRAINER_REPORT_WRITE_FILE_H_
#define SIEVE_TRAINER_REPORT_WRITE_FILE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace sieve {

// Makes the folder of a file that is written later, and writes there for a try: what cannot work is
// found out before the work is done. INVALID_ARGUMENT where `path` is no regular file; the errors
// of DurableFile.
absl::Status PrepareFile(const std::string& path);

// Replaces a file when all of the new one is on the disk. The errors of DurableFile.
absl::Status WriteFile(const std::string& path, std::string_view bytes);

}  // namespace sieve

#endif  // SIEVE_TRAINER_REPORT_WRITE_FILE_H_
