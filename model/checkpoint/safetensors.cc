#include "model/checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/byte_reader.h"
#include "model/checkpoint/json.h"
#include "model/checkpoint/quoted.h"

namespace sieve {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit

// A tensor of the header: its shape, and its bytes [begin, end) of the data section.
struct Entry {
  std::string name;
  TensorView view;  // without data
  uint64_t begin = 0;
  uint64_t end = 0;
};

std::optional<DType> DTypeNamed(const std::string& name) {
  if (name == "F32") return DType::kF32;
  if (name == "F16") return DType::kF16;
  if (name == "BF16") return DType::kBF16;
  return std::nullopt;
}

// Reasons alone; the caller adds file and tensor.
absl::Status ReadShape(const json& header, TensorView& view) {
  std::string dtype_name;
  if (absl::Status status = GetField(header, "dtype", dtype_name); !status.ok()) return status;
  if (dtype_name.empty()) return absl::InvalidArgumentError("no dtype");
  const std::optional<DType> dtype = DTypeNamed(dtype_name);
  if (!dtype) {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype ", Quoted(dtype_name), " is not supported (F32, F16 and BF16 are)"));
  }
  const auto shape = header.find("shape");
  if (shape == header.end() || !shape->is_array()) return absl::InvalidArgumentError("no shape");
  if (shape->size() != 1 && shape->size() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensors of ", shape->size(), " dimensions are not supported (1 and 2 are)"));
  }
  for (const json& dim : *shape) {
    if (!dim.is_number_unsigned() || dim.get<uint64_t>() == 0 || dim.get<uint64_t>() > INT32_MAX) {
      return absl::InvalidArgumentError(
          absl::StrCat("a dimension of the shape is not an integer from 1 to ", INT32_MAX));
    }
  }
  view.dtype = *dtype;
  view.rows = shape->size() == 2 ? shape->front().get<int64_t>() : 1;
  view.cols = shape->back().get<int64_t>();
  return absl::OkStatus();
}

absl::Status ReadOffsets(const json& header, uint64_t data_bytes, Entry& entry) {
  const auto offsets = header.find("data_offsets");
  if (offsets == header.end() || !offsets->is_array() || offsets->size() != 2 ||
      !offsets->front().is_number_unsigned() || !offsets->back().is_number_unsigned()) {
    return absl::InvalidArgumentError("data_offsets are not two unsigned integers");
  }
  entry.begin = offsets->front().get<uint64_t>();
  entry.end = offsets->back().get<uint64_t>();
  if (entry.begin > entry.end) return absl::InvalidArgumentError("data_offsets run backwards");
  if (entry.end > data_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("data_offsets end at byte ", entry.end, " of ", data_bytes,
                     " in the file's data section; the file may be truncated"));
  }
  // Both dimensions are below 2^31, the elements of 4 bytes at most: below 2^64.
  const uint64_t wanted = static_cast<uint64_t>(entry.view.rows) *
                          static_cast<uint64_t>(RowBytes(entry.view.dtype, entry.view.cols));
  if (entry.end - entry.begin != wanted) {
    return absl::InvalidArgumentError(absl::StrCat("data_offsets span ", entry.end - entry.begin,
                                                   " bytes, shape and dtype need ", wanted));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Entry>> ReadEntries(const json& header, uint64_t data_bytes) {
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") continue;
    Entry entry;
    entry.name = name;
    absl::Status status = value.is_object() ? ReadShape(value, entry.view)
                                            : absl::InvalidArgumentError("not a JSON object");
    if (status.ok()) status = ReadOffsets(value, data_bytes, entry);
    if (!status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", Quoted(name), ": ", status.message()));
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace

// Views of misaligned elements would be undefined to read.
const char* SafetensorsFile::Aligned(const char* data, const TensorView& shape) {
  const uintptr_t element = static_cast<uintptr_t>(InfoOf(shape.dtype).bytes);
  if (reinterpret_cast<uintptr_t>(data) % element == 0) return data;
  copies_.push_back(std::make_unique<char[]>(shape.bytes()));
  std::memcpy(copies_.back().get(), data, shape.bytes());
  return copies_.back().get();
}

absl::Status SafetensorsFile::Parse() {
  const auto error = [this](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat(path(), ": ", parts...));
  };
  ByteReader reader(file_.bytes());
  uint64_t header_bytes;
  std::string_view header_text;
  if (!reader.Read(&header_bytes)) return error("not a safetensors file: shorter than 8 bytes");
  if (header_bytes > kMaxHeaderBytes || !reader.ReadBytes(header_bytes, &header_text)) {
    return error("the header claims ", header_bytes, " bytes in a file of ", file_bytes());
  }
  absl::StatusOr<json> header = ParseJsonObject(header_text);
  if (!header.ok()) return error("header: ", header.status().message());
  absl::StatusOr<std::vector<Entry>> entries = ReadEntries(*header, reader.remaining());
  if (!entries.ok()) return error(entries.status().message());

  std::sort(entries->begin(), entries->end(),
            [](const Entry& a, const Entry& b) { return a.begin < b.begin; });
  uint64_t end = 0;  // of the tensors so far
  for (Entry& entry : *entries) {
    if (entry.begin != end) {
      return error("tensor ", Quoted(entry.name), ": ",
                   entry.begin < end ? "overlaps another tensor" : "a gap before its data");
    }
    end = entry.end;
    entry.view.data = Aligned(file_.bytes().data() + reader.position() + entry.begin, entry.view);
    tensors_.emplace(std::move(entry.name), entry.view);
  }
  if (end != reader.remaining())
    return error(reader.remaining() - end, " bytes of no tensor at the end");
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  std::unique_ptr<SafetensorsFile> tensors(new SafetensorsFile(*std::move(file)));
  if (absl::Status status = tensors->Parse(); !status.ok()) return status;
  return tensors;
}

}  // namespace sieve
