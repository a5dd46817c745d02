#include "client/bench/parameters.h"

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace sieve {
namespace {

using Json = nlohmann::ordered_json;

Json RangeJson(const LengthRange& range) {
  if (range.low == range.high) return range.low;
  return absl::StrCat(range.low, "..", range.high);
}

void AddWorkload(const BenchOptions& options, Json* json) {
  if (options.trace.empty()) {
    (*json)["prompt_tokens"] = RangeJson(options.prompt_tokens);
    (*json)["max_tokens"] = RangeJson(options.max_tokens);
    return;
  }
  // The folder is the machine's, not the workload's.
  (*json)["trace"] = options.trace.substr(options.trace.rfind('/') + 1);
  (*json)["trace_start"] = absl::FormatDuration(options.trace_start);
  (*json)["time_scale"] = options.time_scale;
  (*json)["length_scale"] = options.length_scale;
  (*json)["max_prompt_tokens"] = options.max_prompt_tokens;
  (*json)["max_generated_tokens"] = options.max_generated_tokens;
}

template <typename T>
void AddPresent(const char* name, const std::optional<T>& value, Json* json) {
  if (value) (*json)[name] = *value;
}

void AddPresent(const char* name, const std::optional<absl::Duration>& value, Json* json) {
  if (value) (*json)[name] = absl::FormatDuration(*value);
}

}  // namespace

Json ParametersJson(const BenchOptions& options) {
  Json json;
  AddPresent("rate", options.rate, &json);
  if (!options.sweep.empty()) json["sweep"] = options.sweep;
  AddPresent("concurrency", options.concurrency, &json);
  const bool poisson = options.arrivals == BenchOptions::Arrivals::kPoisson;
  if (!options.concurrency && options.trace.empty()) {
    json["arrivals"] = poisson ? "poisson" : "constant";
  }
  AddPresent("duration", options.duration, &json);
  AddPresent("requests", options.requests, &json);
  json["warmup"] = absl::FormatDuration(options.warmup);
  AddWorkload(options, &json);
  json["temperature"] = options.temperature;
  AddPresent("priority", options.priority, &json);
  if (!options.tenants.names.empty()) json["tenants"] = options.tenants.names;
  if (options.cancel_after) {
    json["cancel_fraction"] = options.cancel_fraction;
    json["cancel_after"] = absl::StrCat(absl::FormatDuration(options.cancel_after->low), "..",
                                        absl::FormatDuration(options.cancel_after->high));
  }
  AddPresent("timeout", options.timeout, &json);
  json["drain_timeout"] = absl::FormatDuration(options.drain_timeout);
  AddPresent("slo_ttft", options.slo_ttft, &json);
  AddPresent("slo_itl", options.slo_itl, &json);
  AddPresent("slo_e2e", options.slo_e2e, &json);
  json["connections"] = options.connections;
  json["max_in_flight"] = options.max_in_flight;
  json["seed"] = options.seed;
  return json;
}

}  // namespace sieve
