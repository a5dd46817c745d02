#ifndef SIEVE_MODEL_TOKENIZER_UTF8_H_
#define SIEVE_MODEL_TOKENIZER_UTF8_H_

#include <cstddef>
#include <string_view>

namespace sieve {

// What a byte string starts with.
struct Utf8Prefix {
  enum class Kind {
    kCharacter,   // a well-formed character
    kIllFormed,   // a maximal ill-formed subpart (Unicode 15, section 3.9, table 3-8)
    kIncomplete,  // the start of a character that more bytes could complete
  };
  Kind kind = Kind::kCharacter;
  size_t length = 0;  // bytes, 1 to 4
};

// REQUIRES: !text.empty().
Utf8Prefix ClassifyUtf8(std::string_view text);

// Length of the longest prefix of ASCII characters.
size_t AsciiPrefix(std::string_view text);

}  // namespace sieve

#endif  // SIEVE_MODEL_TOKENIZER_UTF8_H_
