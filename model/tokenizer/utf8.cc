#include "model/tokenizer/utf8.h"

#include <cstdint>
#include <cstring>

namespace sieve {
namespace {

// Number of bytes in the character that `lead` starts and the range of its second byte
// (Unicode 15, table 3-7); length 0 when `lead` starts none.
struct Lead {
  size_t length = 0;
  uint8_t second_min = 0x80;
  uint8_t second_max = 0xBF;
};

Lead ClassifyLead(uint8_t lead) {
  if (lead < 0x80) return {1};
  if (lead < 0xC2) return {0};
  if (lead < 0xE0) return {2};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead < 0xF0) return {3};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead < 0xF4) return {4};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0};
}

}  // namespace

Utf8Prefix ClassifyUtf8(std::string_view text) {
  const Lead lead = ClassifyLead(text[0]);
  if (lead.length == 0) return {Utf8Prefix::Kind::kIllFormed, 1};
  for (size_t i = 1; i < lead.length; ++i) {
    if (i == text.size()) return {Utf8Prefix::Kind::kIncomplete, i};
    const uint8_t byte = text[i];
    const uint8_t min = i == 1 ? lead.second_min : 0x80;
    const uint8_t max = i == 1 ? lead.second_max : 0xBF;
    if (byte < min || byte > max) return {Utf8Prefix::Kind::kIllFormed, i};
  }
  return {Utf8Prefix::Kind::kCharacter, lead.length};
}

size_t AsciiPrefix(std::string_view text) {
  size_t i = 0;
  for (uint64_t eight; i + sizeof(eight) <= text.size(); i += sizeof(eight)) {
    std::memcpy(&eight, text.data() + i, sizeof(eight));
    if ((eight & 0x8080808080808080u) != 0) break;
  }
  while (i < text.size() && static_cast<uint8_t>(text[i]) < 0x80) ++i;
  return i;
}

}  // namespace sieve
