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
  std::vector<int64_t> shape;
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

// Reasons alone, here and below; the caller adds file and tensor.
absl::Status ReadDims(const json& dims, Entry& entry) {
  // Together too, all dimensions but the last are rows that can be counted.
  uint64_t rows = 1;
  for (const json& dim : dims) {
    if (!dim.is_number_unsigned() || dim.get<uint64_t>() == 0 || dim.get<uint64_t>() > INT32_MAX) {
      return absl::InvalidArgumentError(
          absl::StrCat("a dimension of the shape is not an integer from 1 to ", INT32_MAX));
    }
    entry.shape.push_back(dim.get<int64_t>());
    if (entry.shape.size() < dims.size()) rows *= dim.get<uint64_t>();
  }
  if (rows > INT32_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat("the shape has ", rows, " rows; at most ", INT32_MAX, " are supported"));
  }
  entry.view.rows = static_cast<int64_t>(rows);
  entry.view.cols = entry.shape.back();
  return absl::OkStatus();
}

absl::Status ReadShape(const json& header, int max_dimensions, Entry& entry) {
  std::string dtype_name;
  if (absl::Status status = GetField(header, "dtype", dtype_name); !status.ok()) return status;
  if (dtype_name.empty()) return absl::InvalidArgumentError("no dtype");
  const std::optional<DType> dtype = DTypeNamed(dtype_name);
  if (!dtype) {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype ", Quoted(dtype_name), " is not supported (F32, F16 and BF16 are)"));
  }
  entry.view.dtype = *dtype;
  const auto shape = header.find("shape");
  if (shape == header.end() || !shape->is_array()) return absl::InvalidArgumentError("no shape");
  if (shape->empty() || shape->size() > static_cast<size_t>(max_dimensions)) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensors of ", shape->size(), " dimensions are not supported (1 ",
                     max_dimensions == 2 ? "and 2" : "to 3", " are)"));
  }
  return ReadDims(*shape, entry);
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
  // Rows and columns are below 2^31, the elements of 4 bytes at most: below 2^64.
  const uint64_t wanted = static_cast<uint64_t>(entry.view.rows) *
                          static_cast<uint64_t>(RowBytes(entry.view.dtype, entry.view.cols));
  if (entry.end - entry.begin != wanted) {
    return absl::InvalidArgumentError(absl::StrCat("data_offsets span ", entry.end - entry.begin,
                                                   " bytes, shape and dtype need ", wanted));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Entry>> ReadEntries(const json& header, uint64_t data_bytes,
                                               int max_dimensions) {
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") continue;
    Entry entry;
    entry.name = name;
    absl::Status status = value.is_object() ? ReadShape(value, max_dimensions, entry)
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

absl::Status SafetensorsFile::Parse(int max_dimensions) {
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
  absl::StatusOr<std::vector<Entry>> entries =
      ReadEntries(*header, reader.remaining(), max_dimensions);
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
    shapes_.emplace(entry.name, std::move(entry.shape));
    tensors_.emplace(std::move(entry.name), entry.view);
  }
  if (end != reader.remaining())
    return error(reader.remaining() - end, " bytes of no tensor at the end");
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path,
                                                                       int max_dimensions) {
  absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  return Read(*std::move(file), max_dimensions);
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Read(MappedFile file,
                                                                       int max_dimensions) {
  std::unique_ptr<SafetensorsFile> tensors(new SafetensorsFile(std::move(file)));
  if (absl::Status status = tensors->Parse(max_dimensions); !status.ok()) return status;
  return tensors;
}

}  // namespace sieve
