#ifndef SIEVE_MODEL_CHECKPOINT_QUOTED_H_
#define SIEVE_MODEL_CHECKPOINT_QUOTED_H_

#include <string>
#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace sieve {

// A name from a file, for a message: in quotes, unprintable bytes escaped, cut to a readable
// length.
inline std::string Quoted(std::string_view name) {
  constexpr size_t kMaxBytes = 200;
  const std::string_view shown = name.substr(0, kMaxBytes);
  return absl::StrCat("\"", absl::CHexEscape({shown.data(), shown.size()}),
                      name.size() > kMaxBytes ? "\"..." : "\"");
}

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_QUOTED_H_
