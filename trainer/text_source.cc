#include "trainer/text_source.h"

#include <zlib.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

constexpr int kReadBytes = 1 << 20;

// What gzread makes of a file, which is read as it is when it is not compressed.
class GzipReader {
 public:
  static absl::StatusOr<GzipReader> Open(const std::string& path) {
    gzFile file = gzopen(path.c_str(), "rb");
    if (file == nullptr) return absl::NotFoundError(absl::StrCat("cannot open ", path));
    return GzipReader(path, file);
  }

  // More bytes, none at the end.
  absl::StatusOr<std::string> Read() {
    std::string bytes(kReadBytes, '\0');
    const int count = gzread(file_.get(), bytes.data(), kReadBytes);
    int error = Z_OK;
    const char* reason = gzerror(file_.get(), &error);
    if (count < 0 || (error != Z_OK && error != Z_STREAM_END)) {
      return absl::DataLossError(absl::StrCat("reading ", path_, ": ", reason));
    }
    bytes.resize(count);
    return bytes;
  }

 private:
  GzipReader(std::string path, gzFile file) : path_(std::move(path)), file_(file, &gzclose_r) {}

  std::string path_;
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file_;
};

absl::StatusOr<std::string> ReadAll(GzipReader& reader) {
  std::string text;
  while (true) {
    const absl::StatusOr<std::string> more = reader.Read();
    if (!more.ok()) return more.status();
    if (more->empty()) return text;
    text += *more;
  }
}

absl::StatusOr<std::string> DocumentOf(const std::string& line, const TextSource& source) {
  const nlohmann::json object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return absl::InvalidArgumentError("is no JSON object");
  std::string document;
  for (const std::string& field : source.fields) {
    const auto found = object.find(field);
    if (found == object.end() || !found->is_string()) {
      return absl::InvalidArgumentError(absl::StrCat("has no text \"", field, "\""));
    }
    absl::StrAppend(&document, document.empty() ? "" : "\n\n", found->get<std::string>());
  }
  return document;
}

absl::Status ReadLine(const std::string& line, int64_t number, const TextSource& source,
                      const std::function<absl::Status(const std::string&)>& each) {
  if (line.empty()) return absl::OkStatus();
  const absl::StatusOr<std::string> document = DocumentOf(line, source);
  if (document.ok()) return each(*document);
  return absl::InvalidArgumentError(
      absl::StrCat(source.path, ", line ", number, " ", document.status().message()));
}

}  // namespace

absl::Status ReadDocuments(const TextSource& source,
                           const std::function<absl::Status(const std::string&)>& each) {
  absl::StatusOr<GzipReader> reader = GzipReader::Open(source.path);
  if (!reader.ok()) return reader.status();
  if (source.fields.empty()) {
    const absl::StatusOr<std::string> text = ReadAll(*reader);
    return text.ok() ? each(*text) : text.status();
  }
  std::string rest;
  for (int64_t number = 1;;) {
    const absl::StatusOr<std::string> more = reader->Read();
    if (!more.ok()) return more.status();
    rest += *more;
    size_t begin = 0;
    for (size_t end; (end = rest.find('\n', begin)) != std::string::npos; begin = end + 1) {
      const absl::Status status = ReadLine(rest.substr(begin, end - begin), number++, source, each);
      if (!status.ok()) return status;
    }
    rest.erase(0, begin);
    if (more->empty()) return ReadLine(rest, number, source, each);
  }
}

}  // namespace sieve
