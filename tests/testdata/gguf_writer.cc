#include "tests/testdata/gguf_writer.h"

namespace sieve {
namespace {

void Pad(uint64_t alignment, std::string& bytes) {
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
}

}  // namespace

std::string GgufWriter::StringBytes(std::string_view text) {
  return Bytes<uint64_t>(text.size()) + std::string(text);
}

std::string GgufWriter::ArrayHeader(uint32_t type, uint64_t count) {
  return Bytes(type) + Bytes(count);
}

void GgufWriter::AddMetadata(std::string_view key, uint32_t type, std::string_view payload) {
  metadata_ += StringBytes(key) + Bytes(type) + std::string(payload);
  ++num_metadata_;
}

void GgufWriter::AddUint32(std::string_view key, uint32_t value) {
  AddMetadata(key, kUint32, Bytes(value));
}

void GgufWriter::AddFloat(std::string_view key, float value) {
  AddMetadata(key, kFloat, Bytes(value));
}

void GgufWriter::AddBool(std::string_view key, bool value) {
  AddMetadata(key, kBool, Bytes<uint8_t>(value));
}

void GgufWriter::AddString(std::string_view key, std::string_view value) {
  AddMetadata(key, kString, StringBytes(value));
}

void GgufWriter::AddStrings(std::string_view key, const std::vector<std::string>& values) {
  std::string payload = ArrayHeader(kString, values.size());
  for (const std::string& value : values) payload += StringBytes(value);
  AddMetadata(key, kArray, payload);
}

void GgufWriter::AddInts(std::string_view key, const std::vector<int32_t>& values) {
  std::string payload = ArrayHeader(kInt32, values.size());
  for (const int32_t value : values) payload += Bytes(value);
  AddMetadata(key, kArray, payload);
}

void GgufWriter::AddTensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                           std::string_view data, std::optional<uint64_t> offset) {
  Pad(alignment_, data_);
  tensors_ += StringBytes(name) + Bytes<uint32_t>(dims.size());
  for (const uint64_t dim : dims) tensors_ += Bytes(dim);
  tensors_ += Bytes(type) + Bytes<uint64_t>(offset.value_or(data_.size()));
  data_ += data;
  ++num_tensors_;
}

void GgufWriter::OverrideCounts(uint64_t tensors, uint64_t metadata) {
  claimed_tensors_ = tensors;
  claimed_metadata_ = metadata;
}

std::string GgufWriter::Finish() const {
  std::string file = "GGUF" + Bytes(version_) + Bytes(claimed_tensors_.value_or(num_tensors_)) +
                     Bytes(claimed_metadata_.value_or(num_metadata_)) + metadata_ + tensors_;
  Pad(alignment_, file);
  return file + data_;
}

}  // namespace sieve
