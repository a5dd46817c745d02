#ifndef SIEVE_TESTS_SERVER_TSAN_SUPPRESSIONS_H_
#define SIEVE_TESTS_SERVER_TSAN_SUPPRESSIONS_H_

namespace sieve {

// The installed gRPC is built without ThreadSanitizer and synchronises through abseil's mutex,
// which ThreadSanitizer does not see: whatever passes from one of its threads to another looks like
// a race. Programs that link this library are spared that; what does without gRPC
// (event_reader_test, the engine's tests) is tested without it.
inline constexpr char kTsanSuppressions[] = "race:libgrpc\n";

}  // namespace sieve

#endif  // SIEVE_TESTS_SERVER_TSAN_SUPPRESSIONS_H_
