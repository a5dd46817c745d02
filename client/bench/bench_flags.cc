#include "client/bench/bench_flags.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace sieve {
namespace {

absl::Status Wrong(absl::string_view message) { return absl::InvalidArgumentError(message); }

// Both ends of LOW..HIGH, or the same one twice.
template <typename T>
absl::Status ParseRange(absl::string_view text, T* low, T* high) {
  const size_t dots = text.find("..");
  if (absl::Status status = ParseFlagValue(text.substr(0, dots), low); !status.ok()) return status;
  if (dots == text.npos) {
    *high = *low;
    return absl::OkStatus();
  }
  if (absl::Status status = ParseFlagValue(text.substr(dots + 2), high); !status.ok()) {
    return status;
  }
  return *low <= *high ? absl::OkStatus()
                       : Wrong(absl::StrCat("the range \"", text, "\" ends below its beginning"));
}

bool IsPositive(double value) { return std::isfinite(value) && value > 0; }

void AddWorkloadFlags(FlagSet* flags, BenchOptions* options) {
  flags->Add("rate", "requests a second, whatever becomes of them (open loop)", &options->rate);
  flags->Add("sweep", "rates to run one after the other, such as 1,2,4,8", &options->sweep);
  flags->Add("arrivals", "poisson (default) or constant", &options->arrivals);
  flags->Add("concurrency", "closed loop: as many requests at any time", &options->concurrency);
  flags->Add("duration", "send for so long", &options->duration);
  flags->Add("requests", "send so many", &options->requests);
  flags->Add("warmup", "at the beginning, sent but not measured", &options->warmup);
  flags->Add("drain_timeout", "for what is unfinished at the end, default 60s",
             &options->drain_timeout);
  flags->Add("prompt_tokens", "of a request, such as 64 (default) or 16..128",
             &options->prompt_tokens);
  flags->Add("max_tokens", "to generate, such as 64 (default) or 16..128", &options->max_tokens);
  flags->Add("temperature", "default 0", &options->temperature);
  flags->Add("priority", "of the requests", &options->priority);
  flags->Add("tenants", "names between commas; each request draws one", &options->tenants);
  flags->Add("cancel_fraction", "of the requests are cancelled, 0 (default) to 1",
             &options->cancel_fraction);
  flags->Add("cancel_after", "sending, such as 200ms or 50ms..2s", &options->cancel_after);
  flags->Add("seed", "of all that is random, default 1", &options->seed);
}

void AddTraceFlags(FlagSet* flags, BenchOptions* options) {
  flags->Add("trace",
             "times and lengths from a file: Azure's CSV or Mooncake's JSON lines, also .gz",
             &options->trace);
  flags->Add("trace_start", "leave out what a trace has before, in its own time",
             &options->trace_start);
  flags->Add("time_scale",
             "multiplies a trace's times, default 1; --rate sets its mean rate instead",
             &options->time_scale);
  flags->Add("length_scale", "multiplies a trace's lengths, default 1", &options->length_scale);
  flags->Add("max_prompt_tokens", "longer prompts are cut", &options->max_prompt_tokens);
  flags->Add("max_generated_tokens", "longer outputs are cut", &options->max_generated_tokens);
}

absl::Status CheckEnd(const BenchOptions& options) {
  if (!options.duration && !options.requests && options.trace.empty()) {
    return Wrong("--duration or --requests is required: when to end");
  }
  if (options.requests && *options.requests < 1) return Wrong("--requests must be 1 or more");
  if (options.duration && options.warmup >= *options.duration) {
    return Wrong("--warmup must be shorter than --duration");
  }
  return absl::OkStatus();
}

absl::Status CheckArrivals(const BenchOptions& options) {
  const int ways =
      options.rate.has_value() + !options.sweep.empty() + options.concurrency.has_value();
  if (ways > 1) return Wrong("one of --rate, --sweep, --concurrency at a time");
  if (ways == 0 && options.trace.empty()) {
    return Wrong("--rate, --sweep, --concurrency or --trace is required: when requests come");
  }
  if (options.rate && !IsPositive(*options.rate)) return Wrong("--rate must be above 0");
  if (!std::all_of(options.sweep.begin(), options.sweep.end(), IsPositive)) {
    return Wrong("--sweep: every rate must be above 0");
  }
  if (options.concurrency && *options.concurrency < 1) {
    return Wrong("--concurrency must be 1 or more");
  }
  return absl::OkStatus();
}

absl::Status CheckRequests(const BenchOptions& options) {
  if (!IsPositive(options.time_scale)) return Wrong("--time_scale must be above 0");
  if (!IsPositive(options.length_scale)) return Wrong("--length_scale must be above 0");
  if (options.max_prompt_tokens < 0 || options.max_generated_tokens < 0) {
    return Wrong("--max_prompt_tokens and --max_generated_tokens must not be negative");
  }
  if (options.prompt_tokens.low < 1) return Wrong("--prompt_tokens must be 1 or more");
  if (options.max_tokens.low < 1) return Wrong("--max_tokens must be 1 or more");
  if (!(options.cancel_fraction >= 0 && options.cancel_fraction <= 1)) {
    return Wrong("--cancel_fraction must be in [0, 1]");
  }
  if ((options.cancel_fraction > 0) != options.cancel_after.has_value()) {
    return Wrong("--cancel_fraction and --cancel_after belong together");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ParseFlagValue(absl::string_view text, LengthRange* value) {
  return ParseRange(text, &value->low, &value->high);
}

absl::Status ParseFlagValue(absl::string_view text, DurationRange* value) {
  return ParseRange(text, &value->low, &value->high);
}

absl::Status ParseFlagValue(absl::string_view text, NameList* value) {
  value->names = absl::StrSplit(text, ',');
  for (const std::string& name : value->names) {
    if (name.empty())
      return Wrong(absl::StrCat("expected names between commas, got \"", text, "\""));
  }
  return absl::OkStatus();
}

absl::Status ParseFlagValue(absl::string_view text, BenchOptions::Arrivals* value) {
  if (text == "poisson") {
    *value = BenchOptions::Arrivals::kPoisson;
  } else if (text == "constant") {
    *value = BenchOptions::Arrivals::kConstant;
  } else {
    return Wrong(absl::StrCat("expected poisson or constant, got \"", text, "\""));
  }
  return absl::OkStatus();
}

void AddBenchFlags(FlagSet* flags, BenchOptions* options) {
  AddWorkloadFlags(flags, options);
  AddTraceFlags(flags, options);
  flags->Add("slo_ttft", "a good request's first token comes within it", &options->slo_ttft);
  flags->Add("slo_itl", "99 % of a good request's gaps between tokens are within it",
             &options->slo_itl);
  flags->Add("slo_e2e", "a good request ends within it", &options->slo_e2e);
  flags->Add("connections", "that the requests are spread over, default 4", &options->connections);
  flags->Add("max_in_flight", "more are counted and not sent, default 20000",
             &options->max_in_flight);
  flags->Add("output", "a file that the JSON lines are appended to", &options->output);
  flags->Add("svg", "a file for the picture of a sweep: latencies against throughput",
             &options->svg);
  flags->Add("title", "of that picture", &options->title);
}

absl::Status CheckBenchOptions(const BenchOptions& options) {
  for (const absl::Status& status :
       {CheckArrivals(options), CheckEnd(options), CheckRequests(options)}) {
    if (!status.ok()) return status;
  }
  if (options.connections < 1 || options.connections > 1024) {
    return Wrong("--connections must be in [1, 1024]");
  }
  if (!options.svg.empty() && options.sweep.empty()) return Wrong("--svg needs a --sweep");
  if (options.max_in_flight < 1) return Wrong("--max_in_flight must be 1 or more");
  return absl::OkStatus();
}

}  // namespace sieve
