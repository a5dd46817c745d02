#ifndef SIEVE_TRAINER_REPORT_EVENT_FILE_H_
#define SIEVE_TRAINER_REPORT_EVENT_FILE_H_

#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sieve {

// Values by name.
using Scalars = std::vector<std::pair<std::string, double>>;

// A file of scalars that TensorBoard reads: TFRecords of Event messages.
class EventFile {
 public:
  // A new file in `folder`, which is made when absent; TensorBoard reads all the files of a folder
  // as one run. UNAVAILABLE when it cannot be written, here and below.
  static absl::StatusOr<EventFile> Create(const std::string& folder);

  // On the disk when it returns, as far as the system buffers nothing.
  absl::Status Add(int64_t step, const Scalars& scalars);

 private:
  EventFile(std::string path, std::ofstream file)
      : path_(std::move(path)), file_(std::move(file)) {}

  absl::Status Append(std::string_view event);

  std::string path_;
  std::ofstream file_;
};

// A record of a TFRecord file: length, its checksum, the data, its checksum.
std::string TfRecord(std::string_view data);

}  // namespace sieve

#endif  // SIEVE_TRAINER_REPORT_EVENT_FILE_H_
