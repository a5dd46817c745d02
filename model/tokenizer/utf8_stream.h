#ifndef SIEVE_MODEL_TOKENIZER_UTF8_STREAM_H_
#define SIEVE_MODEL_TOKENIZER_UTF8_STREAM_H_

#include <string>
#include <string_view>

namespace sieve {

// Turns pieces of bytes into whole UTF-8 characters: an incomplete character at the end is held
// back until the next piece; bytes that can never become one turn into U+FFFD, one for each maximal
// ill-formed subpart (Unicode 15, section 3.9, the practice of WHATWG decoders).
class Utf8Stream {
 public:
  // The text that is certain after `bytes`.
  std::string Append(std::string_view bytes);
  // What is held back, as U+FFFD; the stream is empty afterwards.
  std::string Finish();

 private:
  std::string pending_;  // at most 3 bytes
};

// Whether `text` is well-formed UTF-8; on false `*error_offset` (if given) is its first bad byte.
bool IsValidUtf8(std::string_view text, size_t* error_offset = nullptr);

}  // namespace sieve

#endif  // SIEVE_MODEL_TOKENIZER_UTF8_STREAM_H_
