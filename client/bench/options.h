#ifndef SIEVE_CLIENT_BENCH_OPTIONS_H_
#define SIEVE_CLIENT_BENCH_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace sieve {

// Drawn evenly, both ends included.
struct LengthRange {
  int32_t low = 0;
  int32_t high = 0;
};

struct DurationRange {
  absl::Duration low;
  absl::Duration high;
};

struct NameList {
  std::vector<std::string> names;
};

// What `sieve bench` is asked to do.
struct BenchOptions {
  enum class Arrivals { kPoisson, kConstant };

  // When requests come. Open loop: `rate` or `sweep` (requests a second), or a trace's own times.
  // Closed loop: `concurrency` requests at any time, each followed by another.
  std::optional<double> rate;
  std::vector<double> sweep;
  Arrivals arrivals = Arrivals::kPoisson;
  std::optional<int32_t> concurrency;

  // When the run ends: no request is sent after `duration`, or after `requests` of them.
  std::optional<absl::Duration> duration;
  std::optional<int32_t> requests;
  absl::Duration warmup;  // what arrives before is sent, but not measured
  absl::Duration drain_timeout =
      absl::Seconds(60);  // for what is unfinished then; the rest is abandoned

  // What is asked: lengths, or those of a trace.
  LengthRange prompt_tokens = {64, 64};
  LengthRange max_tokens = {64, 64};
  std::string trace;
  absl::Duration trace_start;        // what a trace has before is left out
  double time_scale = 1;             // multiplies a trace's times
  double length_scale = 1;           // multiplies a trace's lengths
  int32_t max_prompt_tokens = 0;     // longer ones are cut; 0: what the model's context allows
  int32_t max_generated_tokens = 0;  // the same for a trace's outputs
  float temperature = 0;
  std::optional<int32_t> priority;
  NameList tenants;                           // each request draws one, evenly
  double cancel_fraction = 0;                 // of the requests are cancelled
  std::optional<DurationRange> cancel_after;  // sending
  std::optional<absl::Duration> timeout;      // each call's deadline, from sending
  uint64_t seed = 1;

  // The objective that a request must meet to count as good; p99 of its own gaps for `slo_itl`.
  std::optional<absl::Duration> slo_ttft, slo_itl, slo_e2e;

  // The generator itself.
  int32_t connections = 4;
  int32_t max_in_flight = 20'000;  // arrivals beyond it are counted and not sent

  std::string output;  // JSON lines are appended to this file
  std::string svg;     // the picture of a sweep
  std::string title;   // of the picture
};

}  // namespace sieve

#endif  // SIEVE_CLIENT_BENCH_OPTIONS_H_
