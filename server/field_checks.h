#ifndef SIEVE_SERVER_FIELD_CHECKS_H_
#define SIEVE_SERVER_FIELD_CHECKS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/refusal.h"

namespace sieve {

// Checks the fields of one request and gathers what is wrong with them. Fields are named by their
// path in the message: "sampling.top_p", "stop.stop_texts[3]". Each check says whether the field
// passed it, else adds a violation: "<field> is <given>; expected <expected>".
class FieldChecks {
 public:
  // Not more are gathered, so that the answer fits what clients take as metadata.
  static constexpr size_t kMaxViolations = 32;

  void Fail(absl::string_view field, absl::string_view given, absl::string_view expected);
  // The same in other words.
  void FailAs(absl::string_view field, std::string description);

  // low <= value <= high.
  bool Int(absl::string_view field, int64_t value, int64_t low, int64_t high);

  // low <= value <= high, or low < value <= high when `low_is_open`. NaN is always refused.
  bool Float(absl::string_view field, float value, float low, float high, bool low_is_open = false);

  // A repeated field has at most `most` entries.
  bool Count(absl::string_view field, int64_t count, int64_t most);

  // Well-formed UTF-8, else the violation gives the first bad byte and its offset.
  bool Utf8(absl::string_view field, const std::string& text);

  bool ok() const { return violations_.empty(); }
  // Looking further would change nothing.
  bool full() const { return violations_.size() >= kMaxViolations; }

  // OK, or a BadRequest.
  absl::Status status() const;

 private:
  std::vector<FieldViolation> violations_;
};

// "field[index]".
std::string Indexed(absl::string_view field, int64_t index);

// Text of a client as it may stand in a message: quoted, escaped, cut after 64 bytes.
std::string Quoted(absl::string_view text);

}  // namespace sieve

#endif  // SIEVE_SERVER_FIELD_CHECKS_H_
