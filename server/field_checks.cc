#include "server/field_checks.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/tokenizer/utf8_stream.h"

namespace sieve {

void FieldChecks::Fail(absl::string_view field, absl::string_view given,
                       absl::string_view expected) {
  FailAs(field, absl::StrCat(field, " is ", given, "; expected ", expected));
}

void FieldChecks::FailAs(absl::string_view field, std::string description) {
  if (!full()) violations_.push_back({std::string(field), std::move(description)});
}

bool FieldChecks::Int(absl::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return true;
  Fail(field, absl::StrCat(value), absl::StrCat("an integer in [", low, ", ", high, "]"));
  return false;
}

bool FieldChecks::Float(absl::string_view field, float value, float low, float high,
                        bool low_is_open) {
  const bool above = low_is_open ? value > low : value >= low;
  if (above && value <= high) return true;
  Fail(field, absl::StrCat(value),
       absl::StrCat("a number in ", low_is_open ? "(" : "[", low, ", ", high, "]"));
  return false;
}

bool FieldChecks::Count(absl::string_view field, int64_t count, int64_t most) {
  if (count <= most) return true;
  FailAs(field, absl::StrCat(field, " has ", count, " entries; expected at most ", most));
  return false;
}

bool FieldChecks::Utf8(absl::string_view field, const std::string& text) {
  size_t offset = 0;
  if (IsValidUtf8(text, &offset)) return true;
  FailAs(field,
         absl::StrFormat("%s is not valid UTF-8: byte 0x%02x at offset %d; expected UTF-8 text",
                         field, static_cast<unsigned char>(text[offset]), offset));
  return false;
}

absl::Status FieldChecks::status() const {
  return ok() ? absl::OkStatus() : BadRequest(violations_);
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
