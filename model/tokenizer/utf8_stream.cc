#include "model/tokenizer/utf8_stream.h"

#include <cstddef>

#include "model/tokenizer/utf8.h"

namespace sieve {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace

std::string Utf8Stream::Append(std::string_view bytes) {
  pending_.append(bytes);
  std::string text;
  text.reserve(pending_.size());
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Prefix prefix = ClassifyUtf8(rest);
    if (prefix.kind == Utf8Prefix::Kind::kIncomplete) break;
    text.append(prefix.kind == Utf8Prefix::Kind::kCharacter ? rest.substr(0, prefix.length)
                                                            : kReplacement);
    rest.remove_prefix(prefix.length);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return text;
}

std::string Utf8Stream::Finish() {
  // An incomplete character is one maximal subpart.
  const std::string text(pending_.empty() ? std::string_view() : kReplacement);
  pending_.clear();
  return text;
}

bool IsValidUtf8(std::string_view text, size_t* error_offset) {
  size_t offset = AsciiPrefix(text);
  while (offset < text.size()) {
    const Utf8Prefix prefix = ClassifyUtf8(text.substr(offset));
    if (prefix.kind != Utf8Prefix::Kind::kCharacter) {
      if (error_offset != nullptr) *error_offset = offset;
      return false;
    }
    offset += prefix.length;
    offset += AsciiPrefix(text.substr(offset));
  }
  return true;
}

}  // namespace sieve
