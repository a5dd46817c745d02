#ifndef SIEVE_TESTS_TESTDATA_GGUF_WRITER_H_
#define SIEVE_TESTS_TESTDATA_GGUF_WRITER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sieve {

// Builds a GGUF file in memory, well-formed or, where a test wants it, not: nothing is checked.
class GgufWriter {
 public:
  // The payload is a value of this type number as the file stores it; see the functions below.
  void AddMetadata(std::string_view key, uint32_t type, std::string_view payload);
  void AddUint32(std::string_view key, uint32_t value);
  void AddFloat(std::string_view key, float value);
  void AddBool(std::string_view key, bool value);
  void AddString(std::string_view key, std::string_view value);
  void AddStrings(std::string_view key, const std::vector<std::string>& values);
  void AddInts(std::string_view key, const std::vector<int32_t>& values);

  // `dims` in GGUF's order, columns first. Without `offset` the data follows that of the tensor
  // before, aligned; with it the header says that offset instead.
  void AddTensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                 std::string_view data, std::optional<uint64_t> offset = std::nullopt);

  // What the header says instead of the number of entries added.
  void OverrideCounts(uint64_t tensors, uint64_t metadata);
  void set_version(uint32_t version) { version_ = version; }
  void set_alignment(uint64_t alignment) { alignment_ = alignment; }

  std::string Finish() const;

  static constexpr uint32_t kUint32 = 4, kInt32 = 5, kFloat = 6, kBool = 7, kString = 8, kArray = 9;

  // Little-endian bytes of a value.
  template <typename T>
  static std::string Bytes(T value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  // A length and the text.
  static std::string StringBytes(std::string_view text);
  // An array's element type and count.
  static std::string ArrayHeader(uint32_t type, uint64_t count);

 private:
  uint32_t version_ = 3;
  uint64_t alignment_ = 32;
  uint64_t num_tensors_ = 0;
  uint64_t num_metadata_ = 0;
  std::optional<uint64_t> claimed_tensors_, claimed_metadata_;
  std::string metadata_, tensors_, data_;
};

}  // namespace sieve

#endif  // SIEVE_TESTS_TESTDATA_GGUF_WRITER_H_
