#include "server/field_checks.h"

#include <cstddef>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/tokenizer/utf8_stream.h"

namespace sieve {

absl::Status InvalidField(absl::string_view field, absl::string_view given,
                          absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", given, "; expected ", expected));
}

absl::Status CheckInt(absl::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return InvalidField(field, absl::StrCat(value),
                      absl::StrCat("an integer in [", low, ", ", high, "]"));
}

absl::Status CheckFloat(absl::string_view field, float value, float low, float high,
                        bool low_is_open) {
  const bool above = low_is_open ? value > low : value >= low;
  if (above && value <= high) return absl::OkStatus();
  return InvalidField(field, absl::StrCat(value),
                      absl::StrCat("a number in ", low_is_open ? "(" : "[", low, ", ", high, "]"));
}

absl::Status CheckCount(absl::string_view field, int64_t count, int64_t most) {
  if (count <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " has ", count, " entries; expected at most ", most));
}

absl::Status CheckUtf8(absl::string_view field, const std::string& text) {
  size_t offset = 0;
  if (IsValidUtf8(text, &offset)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s is not valid UTF-8: byte 0x%02x at offset %d; expected UTF-8 text", field,
                      static_cast<unsigned char>(text[offset]), offset));
}

std::string Indexed(absl::string_view field, int64_t index) {
  return absl::StrCat(field, "[", index, "]");
}

std::string Quoted(absl::string_view text) {
  constexpr size_t kMostBytes = 64;
  const bool cut = text.size() > kMostBytes;
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kMostBytes)), cut ? "...\"" : "\"");
}

}  // namespace sieve
