#ifndef SIEVE_TESTS_FUZZ_INPUT_H_
#define SIEVE_TESTS_FUZZ_INPUT_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace sieve {

// Between the parts of an input that stands for several files or messages.
inline constexpr std::string_view kPartSeparator = "\n%%%%\n";

// The first `count` parts of an input; those that it lacks are empty, the last takes the rest.
inline std::vector<std::string_view> SplitParts(std::string_view input, size_t count) {
  std::vector<std::string_view> parts(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t end = i + 1 < count ? input.find(kPartSeparator) : input.npos;
    parts[i] = input.substr(0, end);
    if (end == input.npos) break;
    input.remove_prefix(end + kPartSeparator.size());
  }
  return parts;
}

// Takes values off the front of an input; at its end everything is zero or empty.
class InputReader {
 public:
  explicit InputReader(std::string_view bytes) : bytes_(bytes) {}

  bool empty() const { return bytes_.empty(); }

  std::string_view Bytes(size_t count) {
    const std::string_view taken = bytes_.substr(0, count);
    bytes_.remove_prefix(taken.size());
    return taken;
  }
  std::string_view Rest() { return Bytes(bytes_.size()); }

  template <typename T>
  T Number() {
    T value = 0;
    const std::string_view taken = Bytes(sizeof(T));
    std::memcpy(&value, taken.data(), taken.size());
    return value;
  }

 private:
  std::string_view bytes_;
};

inline std::string_view InputText(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace sieve

#endif  // SIEVE_TESTS_FUZZ_INPUT_H_
