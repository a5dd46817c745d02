#ifndef SIEVE_TRAINER_REPORT_WRITE_FILE_H_
#define SIEVE_TRAINER_REPORT_WRITE_FILE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace sieve {

// Replaces a file when all of the new one is on the disk. The errors of DurableFile.
absl::Status WriteFile(const std::string& path, std::string_view bytes);

}  // namespace sieve

#endif  // SIEVE_TRAINER_REPORT_WRITE_FILE_H_
