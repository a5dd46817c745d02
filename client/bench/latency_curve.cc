#include "client/bench/latency_curve.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/bench/svg_chart.h"

namespace sieve {
namespace {

struct Percent {
  double percent;
  const char* name;
  const char* color;
};
// Apart for all kinds of sight.
constexpr Percent kPercents[] = {{50, "p50", "#0072b2"}, {99, "p99", "#d55e00"}};

std::string RangeText(const LengthRange& range) {
  return range.low == range.high ? absl::StrCat(range.low)
                                 : absl::StrCat(range.low, " to ", range.high);
}

std::string Workload(const BenchOptions& options) {
  if (!options.trace.empty()) {
    return absl::StrFormat("%s, lengths times %g",
                           options.trace.substr(options.trace.rfind('/') + 1),
                           options.length_scale);
  }
  const bool poisson = options.arrivals == BenchOptions::Arrivals::kPoisson;
  return absl::StrFormat("prompts of %s tokens, %s generated, %s arrivals",
                         RangeText(options.prompt_tokens), RangeText(options.max_tokens),
                         poisson ? "Poisson" : "constant");
}

ChartPanel Panel(const std::vector<BenchRun>& runs, const std::string& title,
                 Histogram Measurements::*latency) {
  ChartPanel panel;
  panel.title = title;
  panel.x_label = "generated tokens a second; at each point: requests a second offered";
  for (const Percent& percent : kPercents) {
    ChartSeries& series = panel.series.emplace_back();
    series.name = percent.name;
    series.color = percent.color;
    for (const BenchRun& run : runs) {
      const Measurements& m = run.measurements;
      const double seconds = MeasuredSeconds(m);
      if (seconds <= 0) continue;
      series.points.push_back({static_cast<double>(m.tokens_in_window) / seconds,
                               static_cast<double>((m.*latency).Percentile(percent.percent)) / 1e6,
                               absl::StrFormat("%g", run.rate)});
    }
  }
  return panel;
}

}  // namespace

std::string DrawLatencyCurve(const std::vector<BenchRun>& runs) {
  Chart chart;
  chart.title = "Latency against throughput";
  if (!runs.empty()) {
    const BenchRun& run = runs.front();
    if (!run.options.title.empty()) chart.title = run.options.title;
    chart.subtitle = absl::StrCat(run.model.name(), " ", run.model.shape().weight_type(), "; ",
                                  Workload(run.options));
  }
  chart.panels = {Panel(runs, "Time to first token, ms", &Measurements::first_token),
                  Panel(runs, "Between tokens, ms", &Measurements::gap)};
  return DrawSvg(chart);
}

}  // namespace sieve
