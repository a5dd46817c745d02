#include "server/text_stream.h"

#include <utility>

namespace sieve {

TextStream::TextStream(const Tokenizer* tokenizer, absl::Span<const std::string> stop_texts)
    : tokenizer_(tokenizer), stops_(stop_texts) {}

TextStream::Piece TextStream::Append(int32_t token, bool obey_stops) {
  if (tokenizer_->IsSpecial(token)) return {};
  for (const char byte : utf8_.Append(tokenizer_->TokenBytes(token))) {
    held_.push_back(byte);
    const int stop = stops_.Advance(byte);
    if (stop < 0 || !obey_stops) continue;
    const std::string& stop_text = stops_.text(stop);
    held_.resize(held_.size() - stop_text.size());
    return {std::exchange(held_, {}), stop_text};
  }
  // A stop text begins with a whole character, so the cut is between characters.
  const size_t certain = held_.size() - stops_.pending();
  Piece piece = {held_.substr(0, certain), std::nullopt};
  held_.erase(0, certain);
  return piece;
}

std::string TextStream::Finish() { return std::exchange(held_, {}) + utf8_.Finish(); }

}  // namespace sieve
