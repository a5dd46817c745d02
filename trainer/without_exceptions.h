#ifndef SIEVE_TRAINER_WITHOUT_EXCEPTIONS_H_
#define SIEVE_TRAINER_WITHOUT_EXCEPTIONS_H_

#include <functional>

#include "absl/status/status.h"

namespace sieve {

// What `command` returns. What it throws, as LibTorch and the standard library do, becomes the
// first line of its text, without the stack that follows there: RESOURCE_EXHAUSTED, with the
// options that use less, where memory was out; INTERNAL else.
absl::Status WithoutExceptions(const std::function<absl::Status()>& command);

}  // namespace sieve

#endif  // SIEVE_TRAINER_WITHOUT_EXCEPTIONS_H_
