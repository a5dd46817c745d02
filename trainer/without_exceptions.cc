#include "trainer/without_exceptions.h"

#include <exception>
#include <new>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

constexpr char kLessMemory[] =
    "; a run uses less with a smaller sequences_at_once, query_chunk, logit_rows or "
    "sequence_length, an evaluation with a smaller windows_at_once, window or --kv_cache_mb";

// LibTorch's type of it is one of its headers', and on a CPU it has none.
bool IsOutOfMemory(const std::exception& error, const std::string& text) {
  return dynamic_cast<const std::bad_alloc*>(&error) != nullptr ||
         absl::StrContains(text, "out of memory") ||
         absl::StrContains(text, "can't allocate memory");
}

}  // namespace

absl::Status WithoutExceptions(const std::function<absl::Status()>& command) {
  try {
    return command();
  } catch (const std::exception& error) {
    const std::string what = error.what();
    const std::string text = what.substr(0, what.find('\n'));
    if (!IsOutOfMemory(error, what)) return absl::InternalError(text);
    return absl::ResourceExhaustedError(absl::StrCat(text, kLessMemory));
  }
}

}  // namespace sieve
