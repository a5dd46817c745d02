#include "model/chat/trim.h"

#include <cstddef>

namespace sieve {
namespace {

constexpr std::string_view kSpaces[] = {
    "\t",           "\n",           "\v",           "\f",           "\r",
    "\x1C",         "\x1D",         "\x1E",         "\x1F",         " ",
    "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81",
    "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
    "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8",
    "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80",
};

// Bytes of the space that `text` starts or ends with; 0 when there is none.
size_t LeadingSpace(std::string_view text) {
  for (const std::string_view space : kSpaces) {
    if (text.substr(0, space.size()) == space) return space.size();
  }
  return 0;
}

size_t TrailingSpace(std::string_view text) {
  for (const std::string_view space : kSpaces) {
    if (text.size() >= space.size() && text.substr(text.size() - space.size()) == space) {
      return space.size();
    }
  }
  return 0;
}

}  // namespace

std::string_view Trim(std::string_view text) {
  while (const size_t bytes = LeadingSpace(text)) text.remove_prefix(bytes);
  while (const size_t bytes = TrailingSpace(text)) text.remove_suffix(bytes);
  return text;
}

}  // namespace sieve
