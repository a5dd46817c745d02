#ifndef SIEVE_CLIENT_BENCH_REPORT_H_
#define SIEVE_CLIENT_BENCH_REPORT_H_

#include <ostream>
#include <string>
#include <vector>

#include "client/bench/measurements.h"
#include "client/bench/options.h"
#include "nlohmann/json.hpp"
#include "sieve/v1/generation.pb.h"

namespace sieve {

// One run of `sieve bench`.
struct BenchRun {
  BenchOptions options;
  double rate = 0;      // requests a second; 0: a closed loop, or a trace's own times
  int64_t clipped = 0;  // requests whose lengths were cut
  v1::GetModelResponse model;
  Measurements measurements;
};

// Seconds that were measured: the window, up to the last request's end where it has none.
double MeasuredSeconds(const Measurements& measurements);

// What makes the numbers doubtful, one sentence each; none when they can be believed.
std::vector<std::string> Warnings(const BenchRun& run);

// All that was asked and measured. Latencies in milliseconds.
nlohmann::ordered_json ToJson(const BenchRun& run);

// The same for people.
void PrintTable(const BenchRun& run, std::ostream& out);

}  // namespace sieve

#endif  // SIEVE_CLIENT_BENCH_REPORT_H_
