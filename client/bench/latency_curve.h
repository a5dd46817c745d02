#ifndef SIEVE_CLIENT_BENCH_LATENCY_CURVE_H_
#define SIEVE_CLIENT_BENCH_LATENCY_CURVE_H_

#include <string>
#include <vector>

#include "client/bench/report.h"

namespace sieve {

// p50 and p99 of first and further tokens against the tokens a second that came back, one point a
// run, as an SVG picture.
std::string DrawLatencyCurve(const std::vector<BenchRun>& runs);

}  // namespace sieve

#endif  // SIEVE_CLIENT_BENCH_LATENCY_CURVE_H_
