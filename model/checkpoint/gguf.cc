#include "model/checkpoint/gguf.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/byte_reader.h"
#include "model/checkpoint/ggml_types.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/quoted.h"

namespace sieve {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr uint64_t kMaxNameBytes = 65535;                // keys; the format allows tensor names 64
constexpr uint64_t kMinMetadataBytes = 8 + 4 + 1;        // empty key, type, one byte
constexpr uint64_t kMinTensorBytes = 8 + 4 + 8 + 4 + 8;  // empty name, one dimension

// Header entry of a tensor.
struct TensorEntry {
  std::string name;
  TensorView view;      // without data
  uint64_t offset = 0;  // from the start of the data section
};

class GgufFileImpl : public GgufFile {
 public:
  explicit GgufFileImpl(MappedFile file) : file_(std::move(file)), reader_(file_.bytes()) {}

  absl::Status Parse() {
    if (absl::Status status = ParseHeader(); !status.ok()) return status;
    for (uint64_t i = 0; i < metadata_count_; ++i) {
      if (absl::Status status = ParseMetadata(i); !status.ok()) return status;
    }
    if (absl::Status status = FindAlignment(); !status.ok()) return status;
    std::vector<TensorEntry> entries(tensor_count_);
    for (uint64_t i = 0; i < tensor_count_; ++i) {
      if (absl::Status status = ParseTensor(i, entries[i]); !status.ok()) return status;
    }
    return PlaceTensors(std::move(entries));
  }

  const std::string& path() const override { return file_.path(); }
  int64_t file_bytes() const override { return static_cast<int64_t>(file_.bytes().size()); }
  const std::map<std::string, GgufValue, std::less<>>& metadata() const override {
    return metadata_;
  }
  const std::map<std::string, TensorView, std::less<>>& tensors() const override {
    return tensors_;
  }

 private:
  template <typename... Parts>
  absl::Status Error(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(path(), ": ", parts...));
  }

  absl::Status ParseHeader() {
    uint32_t magic, version;
    if (!reader_.Read(&magic) || magic != kMagic) return Error("not a GGUF file");
    if (!reader_.Read(&version)) return Error("the file ends within its header");
    if (version == 0x02000000 || version == 0x03000000) {
      return Error("big-endian GGUF files are not supported");
    }
    if (version != 2 && version != 3) {
      return Error("GGUF version ", version, " is not supported (2 and 3 are)");
    }
    if (!reader_.Read(&tensor_count_) || !reader_.Read(&metadata_count_)) {
      return Error("the file ends within its header");
    }
    if (metadata_count_ > reader_.remaining() / kMinMetadataBytes) {
      return Error("the header claims ", metadata_count_, " metadata entries in a file of ",
                   file_bytes(), " bytes");
    }
    if (tensor_count_ > reader_.remaining() / kMinTensorBytes) {
      return Error("the header claims ", tensor_count_, " tensors in a file of ", file_bytes(),
                   " bytes");
    }
    return absl::OkStatus();
  }

  absl::Status ParseMetadata(uint64_t index) {
    std::string_view key;
    uint32_t type;
    if (!ReadGgufString(reader_, &key) || key.empty() || key.size() > kMaxNameBytes ||
        !reader_.Read(&type)) {
      return Error("metadata entry ", index,
                   ": the key is malformed or goes beyond the file's end");
    }
    GgufValue value;
    if (absl::Status status = ReadGgufValue(reader_, type, value); !status.ok()) {
      return Error("metadata key ", Quoted(key), ": ", status.message());
    }
    if (!metadata_.emplace(key, std::move(value)).second) {
      return Error("metadata key ", Quoted(key), " appears twice");
    }
    return absl::OkStatus();
  }

  absl::Status FindAlignment() {
    const auto it = metadata_.find("general.alignment");
    if (it == metadata_.end()) return absl::OkStatus();
    const int64_t* value = std::get_if<int64_t>(&it->second);
    // Eight bytes at least, as the format says, so that every view is aligned to its elements.
    if (value == nullptr || *value < 8 || *value > static_cast<int64_t>(kMaxAlignment) ||
        (*value & (*value - 1)) != 0) {
      return Error("metadata key \"general.alignment\": not a power of two from 8 to ",
                   kMaxAlignment);
    }
    alignment_ = static_cast<uint64_t>(*value);
    return absl::OkStatus();
  }

  absl::Status ParseTensor(uint64_t index, TensorEntry& entry) {
    std::string_view name;
    uint32_t num_dims;
    if (!ReadGgufString(reader_, &name) || name.empty() || name.size() > kMaxNameBytes ||
        !reader_.Read(&num_dims)) {
      return Error("tensor ", index, ": the name is malformed or goes beyond the file's end");
    }
    entry.name = std::string(name);
    const std::string label = absl::StrCat("tensor ", Quoted(name), ": ");
    if (num_dims < 1 || num_dims > 4) return Error(label, num_dims, " dimensions");
    uint64_t dims[4] = {1, 1, 1, 1};
    for (uint32_t i = 0; i < num_dims; ++i) {
      if (!reader_.Read(&dims[i])) return Error(label, "the file ends within its shape");
    }
    uint32_t type;
    if (!reader_.Read(&type) || !reader_.Read(&entry.offset)) {
      return Error(label, "the file ends within its header");
    }
    if (dims[2] != 1 || dims[3] != 1) {
      return Error(label, "tensors of more than two dimensions are not supported");
    }
    const std::optional<DType> dtype = DTypeOfGgmlType(type);
    if (!dtype) return Error(label, "type ", GgmlTypeName(type), " is not supported");
    return SetShape(label, *dtype, dims[0], dims[1], entry.view);
  }

  absl::Status SetShape(const std::string& label, DType dtype, uint64_t cols, uint64_t rows,
                        TensorView& view) const {
    const DTypeInfo info = InfoOf(dtype);
    const uint64_t size = file_.bytes().size();
    if (cols == 0 || rows == 0) return Error(label, "a dimension is zero");
    if (cols % info.elements != 0) {
      return Error(label, "rows of ", cols, " values do not divide into blocks of ", info.elements,
                   " (", info.name, ")");
    }
    // Compared by division, so that no product overflows.
    if (cols / info.elements > size / info.bytes ||
        rows > size / static_cast<uint64_t>(RowBytes(dtype, cols))) {
      return Error(label, "a ", info.name, " tensor of ", rows, " rows of ", cols,
                   " values is larger than the file of ", size, " bytes");
    }
    view = {nullptr, dtype, static_cast<int64_t>(rows), static_cast<int64_t>(cols)};
    return absl::OkStatus();
  }

  // Gives every tensor its place in the data section, which starts at the next aligned position.
  absl::Status PlaceTensors(std::vector<TensorEntry> entries) {
    const uint64_t size = file_.bytes().size();
    const uint64_t start = (reader_.position() + alignment_ - 1) / alignment_ * alignment_;
    if (!entries.empty() && start > size) return Error("the file ends before the tensors' data");
    std::sort(entries.begin(), entries.end(),
              [](const TensorEntry& a, const TensorEntry& b) { return a.offset < b.offset; });
    uint64_t end = 0;  // of the tensors so far
    for (TensorEntry& entry : entries) {
      const std::string label = absl::StrCat("tensor ", Quoted(entry.name), ": ");
      const uint64_t bytes = static_cast<uint64_t>(entry.view.bytes());
      if (entry.offset % alignment_ != 0) {
        return Error(label, "offset ", entry.offset, " is not a multiple of ", alignment_);
      }
      if (entry.offset > size - start || bytes > size - start - entry.offset) {
        return Error(label, bytes, " bytes at offset ", entry.offset,
                     " go beyond the file's end; the file may be truncated");
      }
      if (entry.offset < end) return Error(label, "overlaps another tensor");
      end = entry.offset + bytes;
      entry.view.data = file_.bytes().data() + start + entry.offset;
      if (!tensors_.emplace(std::move(entry.name), entry.view).second) {
        return Error(label, "appears twice");
      }
    }
    return absl::OkStatus();
  }

  const MappedFile file_;
  ByteReader reader_;
  uint64_t metadata_count_ = 0;
  uint64_t tensor_count_ = 0;
  uint64_t alignment_ = kDefaultAlignment;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::map<std::string, TensorView, std::less<>> tensors_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Open(const std::string& path) {
  absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  auto gguf = std::make_unique<GgufFileImpl>(*std::move(file));
  if (absl::Status status = gguf->Parse(); !status.ok()) return status;
  return gguf;
}

}  // namespace sieve
