#include "trainer/report/run_figures.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "trainer/report/chart.h"
#include "trainer/report/heatmap.h"
#include "trainer/report/log_columns.h"
#include "trainer/report/panel.h"

namespace sieve {
namespace {

using nlohmann::json;

constexpr double kDecay = 0.8;  // of running means
constexpr const char* kTerms[][2] = {{"output", "error of the attention's output"},
                                     {"selector", "KL of the selector"},
                                     {"kl", "KL(dense ‖ sparse), nats a token"},
                                     {"task", "cross-entropy of the answers"}};
constexpr const char* kBranches[] = {"base", "selected", "compressed"};

std::set<int64_t> IntegersAt(const json& log, const char* key) {
  std::set<int64_t> values;
  for (const json& line : log) {
    const double value = NumberAt(line, key);
    if (std::isfinite(value)) values.insert(static_cast<int64_t>(value));
  }
  return values;
}

// One term in one stage; without lines where it is not computed there.
Chart TermChart(const json& log, int64_t stage, const char* term,
                const std::set<int64_t>& budgets) {
  Chart chart;
  chart.y.log = true;
  int color = 0;
  for (const int64_t budget : budgets) {
    Series series = LogColumn(
        log, {.key = term, .decay = kDecay, .by_step = true, .take = [&](const json& line) {
                return NumberAt(line, "stage") == stage &&
                       NumberAt(line, "selected_blocks") == budget && NumberAt(line, term) != 0;
              }});
    series.name = absl::StrCat(budget, " blocks");
    series.color = color++;
    if (!series.x.empty()) chart.series.push_back(std::move(series));
  }
  return chart;
}

std::string Panel(const json& log, const char* title, const char* y_label, bool log_y,
                  const std::vector<std::pair<const char*, const char*>>& columns) {
  Chart chart;
  chart.title = title;
  chart.x.label = "step of the run";
  chart.y.label = y_label;
  chart.y.log = log_y;
  for (const auto& [key, name] : columns) {
    Series series = LogColumn(log, {.key = key});
    series.name = name;
    if (!series.x.empty()) chart.series.push_back(std::move(series));
  }
  return chart.series.empty() ? "" : ChartPanel(chart);
}

double Largest(const std::vector<std::vector<double>>& rows) {
  double largest = 0;
  for (const std::vector<double>& row : rows) {
    for (const double value : row) {
      if (std::isfinite(value)) largest = std::max(largest, value);
    }
  }
  return largest > 0 ? largest : 1;
}

// The choices of one head, [blocks, blocks] in percent, row-major.
Heatmap ChoiceMap(const json& probe, const json& percent, int64_t blocks) {
  const int64_t sink = probe.value("sink_blocks", 0), window = probe.value("window_blocks", 0);
  Heatmap map;
  map.x_label = "key block of 64 tokens";
  map.y_label = "query block";
  map.x_end = map.y_end = static_cast<double>(blocks);
  map.high = 100;
  for (int64_t q = 0; q < blocks; ++q) {
    map.rows.emplace_back();
    for (int64_t k = 0; k < blocks; ++k) {
      const bool base = k <= q && (k < sink || k + window >= q);
      const double share = NumberAt(json{{"x", percent[q * blocks + k]}}, "x");
      map.rows.back().push_back(k > q  ? std::numeric_limits<double>::quiet_NaN()
                                : base ? kAlwaysRead
                                       : share);
    }
  }
  return map;
}

}  // namespace

std::string LossFigure(const json& log) {
  const std::set<int64_t> budgets = IntegersAt(log, "selected_blocks");
  std::vector<std::string> panels, names;
  for (const int64_t budget : budgets) names.push_back(absl::StrCat(budget, " blocks selected"));
  for (const int64_t stage : IntegersAt(log, "stage")) {
    for (const auto& [term, title] : kTerms) {
      Chart chart = TermChart(log, stage, term, budgets);
      if (chart.series.empty()) continue;
      chart.title = absl::StrCat("Stage ", stage, ": ", title);
      chart.x.label = "step (running means)";
      panels.push_back(ChartPanel(chart));
    }
  }
  return panels.empty() ? "" : Figure(panels, 3, names);
}

std::string ProgressFigure(const json& log) {
  std::vector<std::string> panels;
  for (std::string& panel : std::vector<std::string>{
           Panel(log, "Norm of the gradient, before clipping", "", true,
                 {{"gradient_norm", "norm"}}),
           Panel(log, "Learning rates: vectors, matrices", "", true,
                 {{"vector_rate", "vectors"}, {"matrix_rate", "matrices"}}),
           Panel(log, "Speed", "tokens/s", false, {{"tokens_per_second", "tokens/s"}})}) {
    if (!panel.empty()) panels.push_back(std::move(panel));
  }
  return panels.empty() ? "" : Figure(panels, 3, {});
}

std::string BranchFigure(const json& log) {
  std::vector<std::string> panels, names;
  Chart means, last;
  means.title = "Mean over layers";
  means.x.label = "step of the run";
  last.title = "By layer, at the end";
  last.x.label = "layer";
  last.points = true;
  for (const char* branch : kBranches) {
    const BranchColumns columns = BranchOverTime(log, branch);
    if (columns.x.empty()) continue;
    names.push_back(branch);
    Heatmap map;
    map.title = absl::StrCat("Weight of ", branch);
    map.x_label = "step of the run, where measured";
    map.y_label = "layer";
    map.rows = columns.layers;
    map.x_begin = columns.x.front();
    map.x_end = columns.x.back();
    if (map.x_end <= map.x_begin) map.x_end = map.x_begin + 1;
    map.y_end = static_cast<double>(columns.layers.size());
    map.high = Largest(columns.layers);
    panels.push_back(HeatmapPanel(map));
    means.series.push_back(MeanOverLayers(columns));
    means.series.back().name = branch;
    Series by_layer;
    by_layer.name = branch;
    for (size_t l = 0; l < columns.layers.size(); ++l) {
      by_layer.x.push_back(static_cast<double>(l));
      by_layer.y.push_back(columns.layers[l].back());
    }
    last.series.push_back(std::move(by_layer));
  }
  if (panels.empty()) return "";
  panels.push_back(ChartPanel(means));
  panels.push_back(ChartPanel(last));
  return Figure(panels, 3, names);
}

std::string SelectionFigure(const json& probe, const std::vector<int64_t>& layers,
                            int64_t max_heads) {
  const int64_t blocks = probe.value("blocks", int64_t{0});
  const json chosen = probe.value("chosen", json::array());
  std::vector<std::string> panels;
  int64_t columns = 0;
  for (const int64_t layer : layers) {
    if (layer < 0 || layer >= static_cast<int64_t>(chosen.size())) continue;
    const int64_t heads = std::min<int64_t>(max_heads, static_cast<int64_t>(chosen[layer].size()));
    for (int64_t head = 0; head < heads; ++head) {
      const json& percent = chosen[layer][head];
      if (!percent.is_array() || static_cast<int64_t>(percent.size()) != blocks * blocks) continue;
      Heatmap map = ChoiceMap(probe, percent, blocks);
      map.title = absl::StrCat("Layer ", layer, ", key/value head ", head);
      panels.push_back(HeatmapPanel(map));
    }
    columns = std::max(columns, heads);
  }
  return panels.empty() ? "" : Figure(panels, static_cast<int>(std::min<int64_t>(columns, 3)), {});
}

}  // namespace sieve
