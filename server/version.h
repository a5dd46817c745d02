#ifndef SIEVE_SERVER_VERSION_H_
#define SIEVE_SERVER_VERSION_H_

#include "absl/strings/string_view.h"

namespace sieve {

inline constexpr absl::string_view kServerVersion = "0.1.0";

}  // namespace sieve

#endif  // SIEVE_SERVER_VERSION_H_
