#ifndef SIEVE_CLIENT_BENCH_BENCH_H_
#define SIEVE_CLIENT_BENCH_BENCH_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "client/bench/options.h"
#include "client/session.h"

namespace sieve {

// Makes a stub whose connection no other stub uses.
using Connect = std::function<absl::StatusOr<std::unique_ptr<v1::Generation::StubInterface>>()>;

// `sieve bench`: loads a server and measures it. Tables on the session's `err`; with json one line
// a run on `out`.
ExitCode RunBench(const Session& session, const BenchOptions& options, const Connect& connect);

}  // namespace sieve

#endif  // SIEVE_CLIENT_BENCH_BENCH_H_
