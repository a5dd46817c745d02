#include "tests/testdata/files.h"

#include <cstdint>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace sieve {

absl::Status WriteFile(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) return absl::InternalError(absl::StrCat(path, ": writing failed"));
  return absl::OkStatus();
}

std::string SafetensorsBytes(std::string_view header_json, std::string_view data) {
  const uint64_t length = header_json.size();
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof(length));
  bytes += header_json;
  bytes += data;
  return bytes;
}

}  // namespace sieve
