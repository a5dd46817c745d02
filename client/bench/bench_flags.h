#ifndef SIEVE_CLIENT_BENCH_BENCH_FLAGS_H_
#define SIEVE_CLIENT_BENCH_BENCH_FLAGS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/bench/options.h"
#include "client/flags.h"

namespace sieve {

// 64, or 16..128.
absl::Status ParseFlagValue(absl::string_view text, LengthRange* value);
// 200ms, or 50ms..2s.
absl::Status ParseFlagValue(absl::string_view text, DurationRange* value);
// Names between commas, none empty.
absl::Status ParseFlagValue(absl::string_view text, NameList* value);
// poisson or constant.
absl::Status ParseFlagValue(absl::string_view text, BenchOptions::Arrivals* value);

// The flags that fill `options`, all but --timeout.
void AddBenchFlags(FlagSet* flags, BenchOptions* options);

// INVALID_ARGUMENT when the flags do not make a workload.
absl::Status CheckBenchOptions(const BenchOptions& options);

}  // namespace sieve

#endif  // SIEVE_CLIENT_BENCH_BENCH_FLAGS_H_
