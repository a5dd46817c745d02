#include "trainer/report/write_file.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/durable_file.h"

namespace sieve {

absl::Status WriteFile(const std::string& path, std::string_view bytes) {
  const std::string partial = path + ".partial";
  absl::StatusOr<DurableFile> file = DurableFile::Create(partial);
  if (!file.ok()) return file.status();
  absl::Status status = file->Append(bytes);
  if (status.ok()) status = file->Finish();
  if (!status.ok()) return status;
  std::error_code error;
  std::filesystem::rename(partial, path, error);
  return error ? absl::UnknownError(absl::StrCat("renaming ", partial, ": ", error.message()))
               : absl::OkStatus();
}

}  // namespace sieve
