#include "trainer/report/event_file.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "trainer/report/crc32c.h"
#include "trainer/report/event.pb.h"

namespace sieve {
namespace {

constexpr char kVersion[] = "brain.Event:2";

template <typename T>
void AppendLittleEndian(T value, std::string* out) {
  for (size_t i = 0; i < sizeof(T); ++i) out->push_back(static_cast<char>(value >> (8 * i)));
}

// A checksum of data that may hold checksums itself is masked.
uint32_t Masked(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8; }

double Now() { return absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()); }

}  // namespace

std::string TfRecord(std::string_view data) {
  std::string record;
  AppendLittleEndian<uint64_t>(data.size(), &record);
  AppendLittleEndian(Masked(Crc32c(record)), &record);
  record.append(data);
  AppendLittleEndian(Masked(Crc32c(data)), &record);
  return record;
}

absl::StatusOr<EventFile> EventFile::Create(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::UnavailableError(absl::StrCat("making ", folder, ": ", error.message()));
  // TensorBoard takes files of one run in the order of their names.
  const std::string stem =
      absl::StrCat(folder, "/events.out.tfevents.", absl::ToUnixSeconds(absl::Now()), ".");
  int64_t number = 0;
  while (std::filesystem::exists(absl::StrCat(stem, number), error)) ++number;
  const std::string path = absl::StrCat(stem, number);
  EventFile file(path, std::ofstream(path, std::ios::binary));
  tensorboard::Event event;
  event.set_wall_time(Now());
  event.set_file_version(kVersion);
  const absl::Status status = file.Append(event.SerializeAsString());
  if (!status.ok()) return status;
  return file;
}

absl::Status EventFile::Add(int64_t step, const Scalars& scalars) {
  tensorboard::Event event;
  event.set_wall_time(Now());
  event.set_step(step);
  for (const auto& [name, value] : scalars) {
    tensorboard::Summary::Value* scalar = event.mutable_summary()->add_value();
    scalar->set_tag(name);
    scalar->set_simple_value(static_cast<float>(value));
  }
  return Append(event.SerializeAsString());
}

absl::Status EventFile::Append(std::string_view event) {
  file_ << TfRecord(event) << std::flush;
  return file_ ? absl::OkStatus() : absl::UnavailableError(absl::StrCat("cannot write ", path_));
}

}  // namespace sieve
