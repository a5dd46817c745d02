#ifndef SIEVE_TESTS_FUZZ_REQUEST_KIND_H_
#define SIEVE_TESTS_FUZZ_REQUEST_KIND_H_

#include <cstdint>

namespace sieve {

// What an input of the validator's target is, by its first byte; the message follows.
enum class RequestKind : uint8_t { kGenerate, kGenerateWithoutChat, kTokenize, kDetokenize };

inline RequestKind RequestKindOf(uint8_t byte) { return static_cast<RequestKind>(byte % 4); }

}  // namespace sieve

#endif  // SIEVE_TESTS_FUZZ_REQUEST_KIND_H_
