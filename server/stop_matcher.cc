#include "server/stop_matcher.h"

#include <algorithm>

namespace sieve {
namespace {

// The longest prefix of `text` that the stream ends with after `byte`, when it was `matched`
// before.
size_t Extend(const std::string& text, const std::vector<size_t>& border, size_t matched,
              char byte) {
  while (matched > 0 && text[matched] != byte) matched = border[matched];
  return text[matched] == byte ? matched + 1 : 0;
}

}  // namespace

StopMatcher::StopMatcher(absl::Span<const std::string> texts) {
  for (const std::string& text : texts) {
    Pattern pattern = {text, {0, 0}, 0};
    for (size_t i = 1; i < text.size(); ++i) {
      pattern.border.push_back(Extend(text, pattern.border, pattern.border[i], text[i]));
    }
    patterns_.push_back(std::move(pattern));
  }
}

int StopMatcher::Advance(char byte) {
  int complete = -1;
  for (size_t i = 0; i < patterns_.size(); ++i) {
    Pattern& pattern = patterns_[i];
    pattern.matched = Extend(pattern.text, pattern.border, pattern.matched, byte);
    if (pattern.matched < pattern.text.size()) continue;
    pattern.matched = pattern.border[pattern.matched];
    if (complete < 0 || pattern.text.size() > patterns_[complete].text.size()) complete = i;
  }
  return complete;
}

size_t StopMatcher::pending() const {
  size_t longest = 0;
  for (const Pattern& pattern : patterns_) longest = std::max(longest, pattern.matched);
  return longest;
}

}  // namespace sieve
