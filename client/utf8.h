#ifndef SIEVE_CLIENT_UTF8_H_
#define SIEVE_CLIENT_UTF8_H_

#include "absl/strings/string_view.h"

namespace sieve {

// Whether `text` is well-formed UTF-8 (no overlong forms, no surrogates, at most U+10FFFF).
bool IsUtf8(absl::string_view text);

}  // namespace sieve

#endif  // SIEVE_CLIENT_UTF8_H_
