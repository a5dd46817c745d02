#ifndef SIEVE_MODEL_CHAT_TRIM_H_
#define SIEVE_MODEL_CHAT_TRIM_H_

#include <string_view>

namespace sieve {

// `text` without the spaces at either end, as Jinja's `trim` filter (Python's str.strip) leaves it:
// Unicode's White_Space and U+001C to U+001F.
std::string_view Trim(std::string_view text);

}  // namespace sieve

#endif  // SIEVE_MODEL_CHAT_TRIM_H_
