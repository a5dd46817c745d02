#include "trainer/text_file.h"

#include <zlib.h>
#include <zstd.h>

#include <cstdio>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

constexpr int kReadBytes = 1 << 20;
constexpr std::string_view kZstdMagic = "\x28\xb5\x2f\xfd";

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

// What gzread makes of a file, which is read as it is when it is not compressed.
class GzipFile : public TextFile {
 public:
  GzipFile(std::string path, gzFile file) : path_(std::move(path)), file_(file, &gzclose_r) {}

  absl::StatusOr<std::string> Read() override {
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
  std::string path_;
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file_;
};

class ZstdFile : public TextFile {
 public:
  ZstdFile(std::string path, File file)
      : path_(std::move(path)),
        file_(std::move(file)),
        stream_(ZSTD_createDStream(), &ZSTD_freeDStream) {}

  absl::StatusOr<std::string> Read() override {
    std::string bytes(kReadBytes, '\0');
    ZSTD_outBuffer out = {bytes.data(), bytes.size(), 0};
    while (out.pos < out.size) {
      if (in_.pos == in_.size) Refill();
      // Without input it gives what it still holds back.
      const size_t in_before = in_.pos, out_before = out.pos;
      const size_t left = ZSTD_decompressStream(stream_.get(), &out, &in_);
      if (ZSTD_isError(left)) return Damaged(ZSTD_getErrorName(left));
      if (in_.pos == in_before && out.pos == out_before) break;
      in_frame_ = left != 0;
    }
    if (out.pos == 0 && in_frame_) return Damaged("it is truncated");
    if (std::ferror(file_.get()) != 0) return Damaged("the disk does not give it");
    bytes.resize(out.pos);
    return bytes;
  }

 private:
  void Refill() {
    packed_.resize(kReadBytes);
    packed_.resize(std::fread(packed_.data(), 1, packed_.size(), file_.get()));
    in_ = {packed_.data(), packed_.size(), 0};
  }

  absl::Status Damaged(std::string_view reason) const {
    return absl::DataLossError(absl::StrCat("reading ", path_, ": ", std::string(reason)));
  }

  std::string path_;
  File file_;
  std::unique_ptr<ZSTD_DStream, size_t (*)(ZSTD_DStream*)> stream_;
  std::string packed_;
  ZSTD_inBuffer in_ = {nullptr, 0, 0};
  bool in_frame_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TextFile>> TextFile::Open(const std::string& path) {
  File file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (file == nullptr) return absl::NotFoundError(absl::StrCat("cannot open ", path));
  char begin[kZstdMagic.size()];
  const size_t count = std::fread(begin, 1, sizeof(begin), file.get());
  if (std::string_view(begin, count) == kZstdMagic) {
    std::rewind(file.get());
    return std::make_unique<ZstdFile>(path, std::move(file));
  }
  gzFile gzip = gzopen(path.c_str(), "rb");
  if (gzip == nullptr) return absl::NotFoundError(absl::StrCat("cannot open ", path));
  return std::make_unique<GzipFile>(path, gzip);
}

absl::StatusOr<std::string> ReadAll(TextFile& file) {
  std::string text;
  while (true) {
    const absl::StatusOr<std::string> more = file.Read();
    if (!more.ok()) return more.status();
    if (more->empty()) return text;
    text += *more;
  }
}

}  // namespace sieve
