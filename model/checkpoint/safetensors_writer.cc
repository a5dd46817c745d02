#include "model/checkpoint/safetensors_writer.h"

#include <nlohmann/json.hpp>

#include "absl/base/internal/raw_logging.h"
#include "kernels/float16.h"
#include "model/checkpoint/durable_file.h"

namespace sieve {
namespace {

std::string_view BytesOf(const void* data, size_t size) {
  return {static_cast<const char*>(data), size};
}

// The header's length and the header, padded so that the data is aligned to 8 bytes.
std::string Header(absl::Span<const TensorToWrite> tensors, DType dtype) {
  nlohmann::json header = {{"__metadata__", {{"format", "pt"}}}};
  int64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    const int64_t end = offset + RowBytes(dtype, static_cast<int64_t>(tensor.values.size()));
    header[tensor.name] = {{"dtype", dtype == DType::kF32 ? "F32" : "BF16"},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  return std::string(BytesOf(&length, sizeof(length))) + text;
}

absl::Status AppendBf16(absl::Span<const float> values, DurableFile* file) {
  constexpr size_t kChunk = 1 << 16;
  std::vector<uint16_t> rounded;
  for (; !values.empty(); values.remove_prefix(rounded.size())) {
    rounded.clear();
    for (const float value : values.subspan(0, kChunk)) rounded.push_back(FloatToBFloat16(value));
    const absl::Status status =
        file->Append(BytesOf(rounded.data(), rounded.size() * sizeof(uint16_t)));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteSafetensors(const std::string& path, absl::Span<const TensorToWrite> tensors,
                              DType dtype) {
  ABSL_RAW_CHECK(dtype == DType::kF32 || dtype == DType::kBF16, "a type that is not written");
  absl::StatusOr<DurableFile> file = DurableFile::Create(path);
  if (!file.ok()) return file.status();
  absl::Status status = file->Append(Header(tensors, dtype));
  for (size_t i = 0; i < tensors.size() && status.ok(); ++i) {
    const absl::Span<const float> values = tensors[i].values;
    status = dtype == DType::kBF16
                 ? AppendBf16(values, &*file)
                 : file->Append(BytesOf(values.data(), values.size() * sizeof(float)));
  }
  if (status.ok()) status = file->Finish();
  return status;
}

}  // namespace sieve
