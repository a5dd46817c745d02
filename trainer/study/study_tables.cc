#include "trainer/study/study_tables.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "trainer/eval/statistics.h"
#include "trainer/report/markup.h"

namespace sieve {
namespace {

using nlohmann::json;

constexpr uint64_t kSeed = 1;  // of the intervals

// Of a result's text at a budget; null for a cell without.
json RowOf(const json& result, size_t text, size_t budget) {
  return result.contains("texts") ? result["texts"][text]["budgets"][budget] : json();
}

std::vector<double> Windows(const json& row, const char* key) {
  return row[key].get<std::vector<double>>();
}

std::string Between(const std::optional<Interval>& interval) {
  return interval ? absl::StrFormat(" [%+.4f, %+.4f]", interval->low, interval->high) : "";
}

// A value with its interval, where there is one.
std::string Value(const json& row, const std::string& key) {
  const std::string value = absl::StrFormat("%.4f", row[key].get<double>());
  const json& interval = row[key + "_interval"];
  if (!interval.is_array()) return value;
  return absl::StrFormat("%s [%.4f, %.4f]", value, interval[0].get<double>(),
                         interval[1].get<double>());
}

std::string KlDifference(const json& first, const json& row) {
  const double difference = row["kl"].get<double>() - first["kl"].get<double>();
  return absl::StrCat(
      absl::StrFormat("%+.4f", difference),
      Between(DifferenceInterval(Windows(first, "window_kl"), Windows(row, "window_kl"), kSeed)));
}

std::vector<std::string> Variants(const StudyGrid& grid, size_t cell) {
  return grid.axes.empty() ? std::vector<std::string>{"the run"} : grid.cells[cell].variants;
}

std::vector<std::string> Heads(const StudyGrid& grid, const std::vector<std::string>& more) {
  std::vector<std::string> heads = grid.axes;
  if (heads.empty()) heads.push_back("cell");
  heads.insert(heads.end(), more.begin(), more.end());
  return heads;
}

std::string Costs(const StudyGrid& grid, const std::vector<json>& results) {
  TableRows rows = {Heads(grid, {"parameters", "% of the base", "training, s", "measuring, s"})};
  for (size_t c = 0; c < results.size(); ++c) {
    const json& result = results[c];
    const double parameters = result["parameters"].get<double>();
    std::vector<std::string> row = Variants(grid, c);
    row.push_back(absl::StrFormat("%.0f", parameters));
    row.push_back(
        absl::StrFormat("%.3f", 100 * parameters / result["base_parameters"].get<double>()));
    row.push_back(absl::StrFormat("%.1f", result["training_seconds"].get<double>()));
    row.push_back(absl::StrFormat("%.1f", result.value("evaluation_seconds", 0.0)));
    rows.push_back(row);
  }
  return MarkdownTable(rows);
}

std::string TextTable(const StudyGrid& grid, const std::vector<json>& results, size_t text) {
  std::vector<std::string> more = {"density", "perplexity ratio", "KL", "agreement"};
  if (grid.cells.size() > 1) more.push_back("KL minus the first cell's");
  TableRows rows = {Heads(grid, more)};
  rows[0].insert(rows[0].begin(), "selected");
  for (size_t b = 0; b < grid.selected_blocks.size(); ++b) {
    for (size_t c = 0; c < results.size(); ++c) {
      const json measured = RowOf(results[c], text, b), first = RowOf(results[0], text, b);
      if (measured.is_null()) continue;
      std::vector<std::string> row = Variants(grid, c);
      row.insert(row.begin(), absl::StrCat(grid.selected_blocks[b]));
      row.push_back(absl::StrFormat("%.3f", measured["density"].get<double>()));
      row.push_back(Value(measured, "ratio"));
      row.push_back(Value(measured, "kl"));
      row.push_back(Value(measured, "agreement"));
      if (grid.cells.size() > 1) {
        row.push_back(c == 0 || first.is_null() ? "–" : KlDifference(first, measured));
      }
      rows.push_back(row);
    }
  }
  return MarkdownTable(rows);
}

}  // namespace

std::string StudyTables(const StudyGrid& grid, const std::vector<json>& results) {
  std::string out = absl::StrCat("# ", grid.title, "\n\n");
  if (!grid.about.empty()) absl::StrAppend(&out, grid.about, "\n\n");
  absl::StrAppend(&out, Costs(grid, results));
  for (size_t c = 0; c < results.size(); ++c) {
    if (!results[c].contains("error")) continue;
    absl::StrAppend(&out, "\n", absl::StrJoin(Variants(grid, c), ", "), ": ",
                    results[c]["error"].get<std::string>(), "\n");
  }
  for (size_t t = 0; t < grid.texts.size(); ++t) {
    for (const json& result : results) {
      if (!result.contains("texts")) continue;
      const json& text = result["texts"][t];
      absl::StrAppend(&out, "\n## ", grid.texts[t].name, ", ", text["windows"].get<int64_t>(),
                      " windows of ", text["window"].get<int64_t>(), " tokens, dense perplexity ",
                      absl::StrFormat("%.3f", text["budgets"][0]["dense_perplexity"].get<double>()),
                      "\n\n");
      break;
    }
    absl::StrAppend(&out, TextTable(grid, results, t));
  }
  absl::StrAppend(&out,
                  "\nRatio: perplexity of sparse over that of dense attention. KL: of dense ‖ "
                  "sparse, nats a token. Agreement: of the most likely token. In brackets 95 % "
                  "intervals (bootstrap over windows, paired).\n");
  return out;
}

}  // namespace sieve
