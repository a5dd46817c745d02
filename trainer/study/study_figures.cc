#include "trainer/study/study_figures.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "trainer/report/chart.h"
#include "trainer/report/log_columns.h"
#include "trainer/report/panel.h"

namespace sieve {
namespace {

using nlohmann::json;

constexpr double kDecay = 0.8;     // of the running mean that is drawn
constexpr double kFarRatio = 1.3;  // of perplexities: on a logarithmic axis

std::string NameOf(const StudyGrid& grid, size_t cell) {
  return grid.axes.empty() ? "the run" : absl::StrJoin(grid.cells[cell].variants, ", ");
}

std::vector<std::string> Names(const StudyGrid& grid, size_t count) {
  std::vector<std::string> names;
  for (size_t c = 0; c < count; ++c) names.push_back(NameOf(grid, c));
  return names;
}

// One cell's line in a chart over budgets.
Series BudgetSeries(const json& text, const std::string& key) {
  Series series;
  for (const json& row : text["budgets"]) {
    const double value = row[key].get<double>();
    const json& interval = row[key + "_interval"];
    series.x.push_back(static_cast<double>(series.x.size()));
    series.y.push_back(value);
    series.low.push_back(interval.is_array() ? interval[0].get<double>() : value);
    series.high.push_back(interval.is_array() ? interval[1].get<double>() : value);
  }
  return series;
}

Chart BudgetChart(const StudyGrid& grid, const std::vector<json>& results, size_t text,
                  bool ratio) {
  Chart chart;
  chart.title = absl::StrCat(grid.texts[text].name, ratio ? ": perplexity ratio" : ": KL");
  chart.x.label = "selected blocks";
  for (const int64_t blocks : grid.selected_blocks) chart.x.names.push_back(absl::StrCat(blocks));
  chart.y.label = ratio ? "sparse / dense" : "KL(dense ‖ sparse), nats a token";
  chart.points = true;
  if (ratio) chart.reference = 1;
  for (size_t c = 0; c < results.size(); ++c) {
    if (!results[c].contains("texts")) continue;
    const json& measured = results[c]["texts"][text];
    chart.series.push_back(BudgetSeries(measured, ratio ? "ratio" : "kl"));
    chart.series.back().name = NameOf(grid, c);
    chart.series.back().color = static_cast<int>(c);
  }
  // A cell that is far off must not make the others one line.
  double largest = 0;
  for (const Series& series : chart.series) {
    largest = std::max(largest, *std::max_element(series.y.begin(), series.y.end()));
  }
  chart.y.log = !ratio || largest > kFarRatio;
  return chart;
}

// The running mean of a term, by the number of the step among those that have it.
Series TermSeries(const json& log, const char* term) {
  Series series = LogColumn(log, {.key = term, .decay = kDecay, .take = [term](const json& line) {
                                    return NumberAt(line, term) != 0;
                                  }});
  for (size_t i = 0; i < series.x.size(); ++i) series.x[i] = static_cast<double>(i + 1);
  return series;
}

template <typename MakeSeries>
void AddPanel(const StudyGrid& grid, const std::vector<json>& results, Chart chart,
              const MakeSeries& make, std::vector<std::string>* panels) {
  for (size_t c = 0; c < results.size(); ++c) {
    Series series = make(results[c]["log"]);
    if (series.x.empty()) continue;
    series.name = NameOf(grid, c);
    series.color = static_cast<int>(c);
    chart.series.push_back(std::move(series));
  }
  if (!chart.series.empty()) panels->push_back(ChartPanel(chart));
}

}  // namespace

std::string StudyFigure(const StudyGrid& grid, const std::vector<json>& results) {
  std::vector<std::string> panels;
  for (size_t t = 0; t < grid.texts.size(); ++t) {
    panels.push_back(ChartPanel(BudgetChart(grid, results, t, /*ratio=*/true)));
    panels.push_back(ChartPanel(BudgetChart(grid, results, t, /*ratio=*/false)));
  }
  return Figure(panels, 2, Names(grid, results.size()));
}

std::string StudyTrainingFigure(const StudyGrid& grid, const std::vector<json>& results) {
  std::vector<std::string> panels;
  const std::pair<const char*, const char*> terms[] = {{"output", "Layers: error of the output"},
                                                       {"selector", "Layers: KL of the selector"},
                                                       {"kl", "End to end: KL(dense ‖ sparse)"}};
  for (const auto& [term, title] : terms) {
    Chart chart;
    chart.title = title;
    chart.x.label = "step (running mean)";
    chart.y.log = true;
    AddPanel(
        grid, results, chart, [&](const json& log) { return TermSeries(log, term); }, &panels);
  }
  for (const char* branch : {"base", "selected", "compressed"}) {
    Chart chart;
    chart.title = absl::StrCat("Branch weight: ", branch);
    chart.x.label = "step";
    chart.y.label = "mean over layers";
    AddPanel(
        grid, results, chart,
        [&](const json& log) { return MeanOverLayers(BranchOverTime(log, branch)); }, &panels);
  }
  return Figure(panels, 3, Names(grid, results.size()));
}

}  // namespace sieve
