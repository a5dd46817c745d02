#include "client/bench/report.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/bench/parameters.h"

namespace sieve {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMilli = 1e6;  // nanoseconds
constexpr int64_t kLateNanos = 1'000'000;

struct NamedPercent {
  const char* name;
  double percent;
};
constexpr NamedPercent kPercents[] = {
    {"p50", 50}, {"p90", 90}, {"p95", 95}, {"p99", 99}, {"p99.9", 99.9}};

// Rounded to a microsecond.
double Millis(double nanos) { return std::round(nanos / 1e3) / 1e3; }
double Rounded(double value) { return std::round(value * 1e4) / 1e4; }

Json HistogramJson(const Histogram& histogram) {
  Json json = {{"count", histogram.count()}};
  if (histogram.count() == 0) return json;
  json["mean"] = Millis(histogram.mean());
  for (const NamedPercent& p : kPercents) {
    json[p.name] = Millis(static_cast<double>(histogram.Percentile(p.percent)));
  }
  json["max"] = Millis(static_cast<double>(histogram.max()));
  return json;
}

struct NamedHistogram {
  const char* json_name;
  const char* title;
  const Histogram* histogram;
};

std::vector<NamedHistogram> Latencies(const Measurements& m) {
  return {{"time_to_first_token_ms", "first token", &m.first_token},
          {"inter_token_ms", "between tokens", &m.gap},
          {"end_to_end_ms", "end to end", &m.end_to_end},
          {"rejection_ms", "rejection", &m.rejection},
          {"rejection_from_send_ms", "  counted from sending", &m.rejection_from_send},
          {"generator_lag_ms", "the generator's lag", &m.lag},
          {"first_token_beyond_server_ms", "first token beyond server's", &m.beyond_server}};
}

// Seconds over which the requests came.
double ArrivalSeconds(const Measurements& m) {
  const int64_t end = m.window.end == kNever ? m.last_arrival : m.window.end;
  return static_cast<double>(end - m.window.begin) / 1e9;
}

double PerSecond(int64_t count, double seconds) {
  return seconds > 0 ? Rounded(static_cast<double>(count) / seconds) : 0;
}

Json RatesJson(const Measurements& m) {
  const double seconds = MeasuredSeconds(m);
  return {{"measured_seconds", Rounded(seconds)},
          {"offered_requests_per_second", PerSecond(m.requests, ArrivalSeconds(m))},
          {"completed_requests_per_second", PerSecond(m.done_in_window, seconds)},
          {"tokens_per_second", PerSecond(m.tokens_in_window, seconds)},
          {"goodput_requests_per_second", PerSecond(m.good_in_window, seconds)},
          {"goodput_tokens_per_second", PerSecond(m.good_tokens_in_window, seconds)}};
}

Json CountsJson(const BenchRun& run) {
  const Measurements& m = run.measurements;
  return {{"offered", m.requests},
          {"by_code", m.by_code},
          {"by_reason", m.by_reason},
          {"rejected", m.rejected},
          {"cancelled", m.cancelled},
          {"abandoned", m.abandoned},
          {"unsent", m.unsent},
          {"good", m.good},
          {"clipped", run.clipped},
          {"max_in_flight", m.max_in_flight},
          {"prompt_tokens", m.prompt_tokens},
          {"cached_prompt_tokens", m.cached_prompt_tokens}};
}

Json TenantsJson(const BenchRun& run) {
  Json json;
  for (size_t i = 0; i < run.measurements.tenants.size(); ++i) {
    const TenantCounts& tenant = run.measurements.tenants[i];
    json[run.options.tenants.names[i]] = {
        {"offered", tenant.requests},
        {"ok", tenant.ok},
        {"good", tenant.good},
        {"rejected", tenant.rejected},
        {"tokens_per_second",
         PerSecond(tenant.tokens_in_window, MeasuredSeconds(run.measurements))},
        {"time_to_first_token_ms", HistogramJson(tenant.first_token)}};
  }
  return json;
}

void PrintLatencies(const Measurements& m, std::ostream& out) {
  out << absl::StreamFormat("\n%-28s %9s", "milliseconds", "count");
  for (const NamedPercent& p : kPercents) out << absl::StreamFormat(" %10s", p.name);
  out << absl::StreamFormat(" %10s\n", "max");
  for (const NamedHistogram& row : Latencies(m)) {
    const Histogram& h = *row.histogram;
    if (h.count() == 0) continue;
    out << absl::StreamFormat("%-28s %9d", row.title, h.count());
    for (const NamedPercent& p : kPercents) {
      out << absl::StreamFormat(" %10.3f", static_cast<double>(h.Percentile(p.percent)) / kMilli);
    }
    out << absl::StreamFormat(" %10.3f\n", static_cast<double>(h.max()) / kMilli);
  }
}

void PrintTenants(const BenchRun& run, std::ostream& out) {
  for (size_t i = 0; i < run.measurements.tenants.size(); ++i) {
    const TenantCounts& t = run.measurements.tenants[i];
    out << absl::StreamFormat(
        "tenant %-20s %d offered, %d OK, %d good, %d rejected, %.1f tokens/s, first token p50 "
        "%.1f ms\n",
        run.options.tenants.names[i], t.requests, t.ok, t.good, t.rejected,
        PerSecond(t.tokens_in_window, MeasuredSeconds(run.measurements)),
        static_cast<double>(t.first_token.Percentile(50)) / kMilli);
  }
}

void PrintCounts(const Measurements& m, std::ostream& out) {
  std::vector<std::string> parts;
  for (const auto& [code, count] : m.by_code) parts.push_back(absl::StrCat(code, " ", count));
  if (m.cancelled > 0) parts.push_back(absl::StrCat("cancelled ", m.cancelled));
  if (m.abandoned > 0) parts.push_back(absl::StrCat("abandoned ", m.abandoned));
  if (m.unsent > 0) parts.push_back(absl::StrCat("not sent ", m.unsent));
  out << m.requests << " requests: " << absl::StrJoin(parts, ", ") << "; good " << m.good
      << "; at most " << m.max_in_flight << " in flight\n";
  for (const auto& [reason, count] : m.by_reason) {
    out << "refused for " << reason << ": " << count << '\n';
  }
}

}  // namespace

double MeasuredSeconds(const Measurements& m) {
  const int64_t end = m.window.end == kNever ? m.last_done : m.window.end;
  return static_cast<double>(std::max<int64_t>(end - m.window.begin, 0)) / 1e9;
}

std::vector<std::string> Warnings(const BenchRun& run) {
  std::vector<std::string> warnings;
  const Measurements& m = run.measurements;
  if (const int64_t lag = m.lag.Percentile(99); lag > kLateNanos) {
    warnings.push_back(
        absl::StrFormat("the generator itself was late: 1 %% of the requests were sent more than "
                        "%.1f ms after their "
                        "time; latencies include that",
                        static_cast<double>(lag) / kMilli));
  }
  if (m.unsent > 0) {
    warnings.push_back(
        absl::StrCat(m.unsent, " requests were not sent, for ", run.options.max_in_flight,
                     " were in flight (--max_in_flight): the load was less than asked"));
  }
  const int64_t streams =
      int64_t{run.options.connections} * run.model.limits().max_streams_per_connection();
  if (streams > 0 && m.max_in_flight > streams) {
    warnings.push_back(absl::StrCat(m.max_in_flight,
                                    " requests were in flight on connections that hold ", streams,
                                    " streams: some waited in this program; raise --connections"));
  }
  if (run.clipped > 0) {
    warnings.push_back(absl::StrCat(run.clipped, " requests' lengths were cut to the limits"));
  }
  if (m.interrupted) warnings.push_back("interrupted before its end");
  return warnings;
}

Json ToJson(const BenchRun& run) {
  Json json = {{"measurement", "bench"}, {"parameters", ParametersJson(run.options)}};
  json["server"] = {{"model", run.model.name()},
                    {"version", run.model.server_version()},
                    {"weight_type", run.model.shape().weight_type()},
                    {"cache_type", run.model.cache().type()}};
  if (run.rate > 0) json["rate"] = run.rate;
  json["requests"] = CountsJson(run);
  json.update(RatesJson(run.measurements));
  for (const NamedHistogram& row : Latencies(run.measurements)) {
    json[row.json_name] = HistogramJson(*row.histogram);
  }
  if (!run.options.tenants.names.empty()) json["tenants"] = TenantsJson(run);
  json["warnings"] = Warnings(run);
  return json;
}

void PrintTable(const BenchRun& run, std::ostream& out) {
  const Measurements& m = run.measurements;
  const double seconds = MeasuredSeconds(m);
  out << '\n';
  if (run.rate > 0) out << absl::StreamFormat("%g requests/s asked for. ", run.rate);
  PrintCounts(m, out);
  out << absl::StreamFormat(
      "%.1f s measured: offered %.2f, completed %.2f, good %.2f requests/s; %.1f tokens/s, of good "
      "requests %.1f\n",
      seconds, PerSecond(m.requests, ArrivalSeconds(m)), PerSecond(m.done_in_window, seconds),
      PerSecond(m.good_in_window, seconds), PerSecond(m.tokens_in_window, seconds),
      PerSecond(m.good_tokens_in_window, seconds));
  PrintTenants(run, out);
  PrintLatencies(m, out);
  out << "All count from the time that the request was due. Tokens that came together share their "
         "gap evenly.\n";
  for (const std::string& warning : Warnings(run)) out << "WARNING: " << warning << '\n';
  out << std::flush;
}

}  // namespace sieve
