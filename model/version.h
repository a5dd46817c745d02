#ifndef SIEVE_MODEL_VERSION_H_
#define SIEVE_MODEL_VERSION_H_

#include "absl/strings/string_view.h"

namespace sieve {

// Of all programs.
inline constexpr absl::string_view kVersion = "0.1.0";

}  // namespace sieve

#endif  // SIEVE_MODEL_VERSION_H_
