#ifndef SIEVE_SERVER_TEXT_STREAM_H_
#define SIEVE_SERVER_TEXT_STREAM_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/utf8_stream.h"
#include "server/stop_matcher.h"

namespace sieve {

// The text of one sample while its tokens come: whole UTF-8 characters, without special tokens, and
// without the stop text that ends it. What may become a stop text is held back until that is
// certain. The stop that is complete first ends the text, the longest of several that end together.
class TextStream {
 public:
  // `tokenizer` must outlive the stream. REQUIRES: no stop text is empty.
  TextStream(const Tokenizer* tokenizer, absl::Span<const std::string> stop_texts);

  struct Piece {
    std::string text;                 // certain now
    std::optional<std::string> stop;  // the stop text that ends the sample right after `text`
  };
  // A stop text that this token completes counts only if `obey_stops`, else it is text like any
  // other.
  Piece Append(int32_t token, bool obey_stops);

  // What is held back, when no token comes any more.
  std::string Finish();

 private:
  const Tokenizer* const tokenizer_;
  Utf8Stream utf8_;
  StopMatcher stops_;
  std::string held_;  // whole characters that may be the beginning of a stop text
};

}  // namespace sieve

#endif  // SIEVE_SERVER_TEXT_STREAM_H_
