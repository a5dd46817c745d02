#include "trainer/report/write_file.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/durable_file.h"

namespace sieve {
namespace {

std::string PartialOf(const std::string& path) { return path + ".partial"; }

}  // namespace

absl::Status PrepareFile(const std::string& path) {
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (!folder.empty()) std::filesystem::create_directories(folder, error);
  if (error) {
    return absl::UnknownError(absl::StrCat("making ", folder.string(), ": ", error.message()));
  }
  if (std::filesystem::exists(path, error) && !std::filesystem::is_regular_file(path, error)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is there and is no file"));
  }
  const absl::StatusOr<DurableFile> file = DurableFile::Create(PartialOf(path));
  if (!file.ok()) return file.status();
  std::filesystem::remove(PartialOf(path), error);
  return absl::OkStatus();
}

absl::Status WriteFile(const std::string& path, std::string_view bytes) {
  const std::string partial = PartialOf(path);
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
