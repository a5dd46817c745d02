#include "client/bench/line_reader.h"

#include <zlib.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <type_traits>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace sieve {
namespace {

// Far above a trace's longest.
constexpr size_t kMaxLineBytes = 16 << 20;

struct CloseFile {
  void operator()(gzFile file) const { gzclose_r(file); }
};
using File = std::unique_ptr<std::remove_pointer_t<gzFile>, CloseFile>;

// The next line and whether there was one. Several reads where it is longer than the buffer.
absl::StatusOr<bool> ReadLine(const std::string& path, gzFile file, std::string* line) {
  line->clear();
  std::array<char, 64 << 10> buffer;
  while (line->empty() || line->back() != '\n') {
    if (gzgets(file, buffer.data(), buffer.size()) == nullptr) {
      int code = Z_OK;
      const char* message = gzerror(file, &code);
      if (code != Z_OK && code != Z_STREAM_END) {
        return absl::DataLossError(
            absl::StrCat(path, ": cannot be read: ", code == Z_ERRNO ? strerror(errno) : message));
      }
      return !line->empty();
    }
    line->append(buffer.data());
    if (line->size() > kMaxLineBytes) {
      return absl::DataLossError(
          absl::StrCat(path, ": a line is longer than ", kMaxLineBytes, " bytes"));
    }
  }
  return true;
}

}  // namespace

absl::Status ReadLines(const std::string& path,
                       const std::function<absl::Status(absl::string_view)>& on_line) {
  const File file(gzopen(path.c_str(), "rb"));
  if (file == nullptr) {
    return absl::NotFoundError(absl::StrCat("cannot open ", path, ": ", strerror(errno)));
  }
  std::string line;
  for (int64_t number = 1;; ++number) {
    const absl::StatusOr<bool> found = ReadLine(path, file.get(), &line);
    if (!found.ok()) return found.status();
    if (!*found) return absl::OkStatus();
    absl::string_view text = line;
    absl::ConsumeSuffix(&text, "\n");
    absl::ConsumeSuffix(&text, "\r");
    if (const absl::Status status = on_line(text); !status.ok()) {
      return absl::Status(status.code(), absl::StrCat(path, ":", number, ": ", status.message()));
    }
  }
}

}  // namespace sieve
