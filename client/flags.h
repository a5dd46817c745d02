#ifndef SIEVE_CLIENT_FLAGS_H_
#define SIEVE_CLIENT_FLAGS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace sieve {

// Added to a token's logit; written ID:BIAS.
struct LogitBiasFlag {
  int32_t token_id = 0;
  float bias = 0;
};

// One flag's value out of its text; the error says what was expected. A duration is written 1.5s,
// 200ms, or as a number of seconds.
absl::Status ParseFlagValue(absl::string_view text, std::string* value);
absl::Status ParseFlagValue(absl::string_view text, bool* value);
absl::Status ParseFlagValue(absl::string_view text, int32_t* value);
absl::Status ParseFlagValue(absl::string_view text, uint64_t* value);
absl::Status ParseFlagValue(absl::string_view text, float* value);
absl::Status ParseFlagValue(absl::string_view text, double* value);
absl::Status ParseFlagValue(absl::string_view text, absl::Duration* value);
absl::Status ParseFlagValue(absl::string_view text, LogitBiasFlag* value);
// Numbers between commas, added to those of earlier flags.
absl::Status ParseFlagValue(absl::string_view text, std::vector<int32_t>* values);
absl::Status ParseFlagValue(absl::string_view text, std::vector<double>* values);

// A present value.
template <typename T>
absl::Status ParseFlagValue(absl::string_view text, std::optional<T>* value) {
  return ParseFlagValue(text, &value->emplace());
}

// One more value for each time that the flag is given.
template <typename T>
absl::Status ParseFlagValue(absl::string_view text, std::vector<T>* values) {
  return ParseFlagValue(text, &values->emplace_back());
}

// The flags of one subcommand. Unlike global flags they differ between subcommands, can be given
// several times (a vector's), and know whether they were given (an optional's).
class FlagSet {
 public:
  // `value` holds the default and must outlive the set.
  template <typename T>
  void Add(std::string name, std::string help, T* value) {
    flags_.push_back({std::move(name), std::move(help), std::is_same_v<T, bool>,
                      [value](absl::string_view text) { return ParseFlagValue(text, value); }});
  }

  // Takes --name=value, --name value, --name and --noname (of a bool), and -- before arguments that
  // are no flags. Dashes within a name count as underscores. INVALID_ARGUMENT names the flag.
  absl::Status Parse(absl::Span<const std::string> arguments, std::vector<std::string>* positional);

  // A line for each flag, in order of addition.
  std::string Help() const;

 private:
  struct Flag {
    std::string name;
    std::string help;
    bool is_bool;
    std::function<absl::Status(absl::string_view)> set;
  };

  const Flag* Find(absl::string_view name) const;

  std::vector<Flag> flags_;
};

}  // namespace sieve

#endif  // SIEVE_CLIENT_FLAGS_H_
