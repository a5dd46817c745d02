#ifndef SIEVE_SERVER_LOG_LOG_FIELDS_H_
#define SIEVE_SERVER_LOG_LOG_FIELDS_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "server/log/log_format.h"

namespace sieve {

// A line of fields for an AsyncLog's request_log(). Whatever a value holds, it stays inside its
// field.
class LogFields {
 public:
  LogFields(LogFormat format, absl::string_view message);

  // `name` is a word of the program's own.
  void Add(absl::string_view name, absl::string_view value);
  void Add(absl::string_view name, int64_t value);
  void Add(absl::string_view name, double value);  // six digits

  const std::string& line() const { return line_; }

 private:
  void AddName(absl::string_view name);

  const LogFormat format_;
  std::string line_;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_LOG_LOG_FIELDS_H_
