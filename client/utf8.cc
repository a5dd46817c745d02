#include "client/utf8.h"

#include <cstddef>
#include <cstdint>

namespace sieve {

bool IsUtf8(absl::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const uint8_t lead = text[i];
    const int length = lead < 0x80 ? 1 : lead < 0xC0 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (length == 0 || i + length > text.size()) return false;
    uint32_t character = length == 1 ? lead : lead & (0x7F >> length);
    for (int k = 1; k < length; ++k) {
      const uint8_t next = text[i + k];
      if ((next & 0xC0) != 0x80) return false;
      character = character << 6 | (next & 0x3F);
    }
    constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (lead >= 0xF8 || character < kSmallest[length] || character > 0x10FFFF ||
        (character >= 0xD800 && character <= 0xDFFF)) {
      return false;
    }
    i += length;
  }
  return true;
}

}  // namespace sieve
