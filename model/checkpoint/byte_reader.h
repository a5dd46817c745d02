#ifndef SIEVE_MODEL_CHECKPOINT_BYTE_READER_H_
#define SIEVE_MODEL_CHECKPOINT_BYTE_READER_H_

#include <cstdint>
#include <cstring>
#include <string_view>

namespace sieve {

// Takes little-endian values off the front of bytes. A read that would pass the end fails and takes
// nothing.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }

  template <typename T>
  bool Read(T* value) {
    if (remaining() < sizeof(T)) return false;
    std::memcpy(value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return true;
  }

  bool ReadBytes(uint64_t count, std::string_view* value) {
    if (remaining() < count) return false;
    *value = bytes_.substr(position_, count);
    position_ += count;
    return true;
  }

 private:
  std::string_view bytes_;
  uint64_t position_ = 0;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_BYTE_READER_H_
