#ifndef SIEVE_SERVER_FIELD_CHECKS_H_
#define SIEVE_SERVER_FIELD_CHECKS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace sieve {

// Checks of one field of a request. Each error is INVALID_ARGUMENT: "<field> is <given>; expected
// <expected>". Fields are named by their path in the message: "sampling.top_p",
// "stop.stop_texts[3]".

absl::Status InvalidField(absl::string_view field, absl::string_view given,
                          absl::string_view expected);

// low <= value <= high.
absl::Status CheckInt(absl::string_view field, int64_t value, int64_t low, int64_t high);

// low <= value <= high, or low < value <= high when `low_is_open`. NaN is always refused.
absl::Status CheckFloat(absl::string_view field, float value, float low, float high,
                        bool low_is_open = false);

// A repeated field has at most `most` entries.
absl::Status CheckCount(absl::string_view field, int64_t count, int64_t most);

// Well-formed UTF-8, else the error gives the first bad byte and its offset.
absl::Status CheckUtf8(absl::string_view field, const std::string& text);

// "field[index]".
std::string Indexed(absl::string_view field, int64_t index);

// Text of a client as it may stand in a message: quoted, escaped, cut after 64 bytes.
std::string Quoted(absl::string_view text);

}  // namespace sieve

#endif  // SIEVE_SERVER_FIELD_CHECKS_H_
