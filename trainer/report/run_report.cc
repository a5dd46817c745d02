#include "trainer/report/run_report.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/adapter/adapter_file.h"
#include "model/adapter/adapter_json.h"
#include "model/adapter/parameter_report.h"
#include "model/checkpoint/json.h"
#include "trainer/eval/table.h"
#include "trainer/report/log_columns.h"
#include "trainer/report/markup.h"
#include "trainer/report/run_figures.h"
#include "trainer/report/run_log.h"
#include "trainer/report/write_file.h"

namespace sieve {
namespace {

using nlohmann::json;

constexpr int64_t kShownLayers = 5;
constexpr int64_t kShownHeads = 3;
constexpr double kMeanSteps = 20;  // of the last losses

constexpr char kStyle[] = R"(<style>
body{font:15px/1.5 system-ui,'Helvetica Neue',Arial,sans-serif;color:#222;background:#fff;
  max-width:1340px;margin:2em auto;padding:0 1em}
h1{font-size:1.6em;margin-bottom:0}h2{margin:1.8em 0 .4em;border-bottom:1px solid #ddd}
p{max-width:56em}.muted{color:#666}svg{max-width:100%;height:auto}
table{border-collapse:collapse;margin:.6em 0 1.2em;font-size:.92em;font-variant-numeric:tabular-nums}
th,td{padding:.25em .8em;border-bottom:1px solid #e8e8e8;text-align:left}
th{border-bottom:1px solid #999}.number{text-align:right}
.facts{display:flex;flex-wrap:wrap;gap:.8em;margin:1.2em 0}
.facts div{border:1px solid #ddd;border-radius:6px;padding:.5em 1em}
.facts b{display:block;font-size:1.25em}
</style>
)";

struct Run {
  std::string folder;
  AdapterConfig config;
  ParameterReport parameters;
  json log, probe;
};

std::string Section(absl::string_view title, absl::string_view about, const std::string& content) {
  if (content.empty()) return "";
  return absl::StrCat("<h2>", title, "</h2>\n<p>", about, "</p>\n", content);
}

// The mean of a column's last values; NaN without any.
double LastMean(const json& log, const char* key) {
  const Series series = LogColumn(
      log, {.key = key, .take = [key](const json& line) { return NumberAt(line, key) != 0; }});
  const size_t count = std::min<size_t>(series.y.size(), static_cast<size_t>(kMeanSteps));
  double sum = 0;
  for (size_t i = series.y.size() - count; i < series.y.size(); ++i) sum += series.y[i];
  return sum / static_cast<double>(count);
}

std::string Fact(absl::string_view name, absl::string_view value) {
  return absl::StrCat("<div><b>", value, "</b>", name, "</div>\n");
}

std::string Facts(const Run& run) {
  std::string out = "<div class=\"facts\">\n";
  absl::StrAppend(&out, Fact("steps", absl::StrCat(run.log.size())));
  const double kl = LastMean(run.log, "kl");
  if (std::isfinite(kl)) {
    absl::StrAppend(&out, Fact("KL(dense ‖ sparse), last 20 steps", absl::StrFormat("%.4f", kl)));
  }
  const double total = static_cast<double>(run.parameters.sum.total());
  absl::StrAppend(&out, Fact("parameters", absl::StrFormat("%.0f", total)));
  if (run.parameters.base_parameters > 0) {
    const double share = 100 * total / static_cast<double>(run.parameters.base_parameters);
    absl::StrAppend(&out, Fact("of the base model", absl::StrFormat("%.2f %%", share)));
  }
  const AdapterConfig& c = run.config;
  absl::StrAppend(
      &out, Fact("selector", NameOf(c.selector)), Fact("combiner", NameOf(c.combiner)),
      Fact("blocks: sink + window + selected",
           absl::StrCat(c.sink_blocks, " + ", c.window_blocks, " + ", c.selected_blocks)));
  return out + "</div>\n";
}

// The options that are not the defaults' first, for they are what the run is about.
std::string Options(const AdapterConfig& config) {
  AdapterConfig defaults;
  const auto object = AdapterConfigToJson(config), usual = AdapterConfigToJson(defaults);
  const std::set<std::string> of_the_base = {
      "peft_type",         "variant",    "format_version", "base_model_name_or_path",
      "base_model_digest", "num_layers", "hidden_size",    "num_heads",
      "num_kv_heads",      "head_dim"};
  TableRows rows = {{"option", "value", ""}};
  for (const bool changed : {true, false}) {
    for (const auto& [key, value] : object.items()) {
      if (of_the_base.contains(key) || (usual[key] != value) != changed) continue;
      rows.push_back({key, value.is_string() ? value.get<std::string>() : value.dump(),
                      changed ? absl::StrCat("default: ", usual[key].dump()) : ""});
    }
  }
  return HtmlTable(rows);
}

std::vector<std::string> ParameterRow(const std::string& name, const AdapterParameters& p) {
  return {name,
          absl::StrCat(p.selector),
          absl::StrCat(p.key_compression),
          absl::StrCat(p.value_compression),
          absl::StrCat(p.positions),
          absl::StrCat(p.combiner),
          absl::StrCat(p.total())};
}

std::string Parameters(const ParameterReport& report) {
  TableRows rows = {{"", "selector", "keys", "values", "positions", "combiner", "all"}};
  for (size_t l = 0; l < report.layers.size(); ++l) {
    if (report.layers[l].total() == 0) continue;
    rows.push_back(ParameterRow("a layer", report.layers[l]));
    break;
  }
  rows.push_back(ParameterRow("all layers", report.sum));
  if (report.base_parameters > 0) {
    std::vector<std::string> share = {"% of the base"};
    for (size_t i = 1; i < rows.back().size(); ++i) {
      share.push_back(absl::StrFormat(
          "%.3f", 100 * std::stod(rows.back()[i]) / static_cast<double>(report.base_parameters)));
    }
    rows.push_back(std::move(share));
  }
  return HtmlTable(rows);
}

// Spread over the model, of those that are sparse.
std::vector<int64_t> ShownLayers(const AdapterConfig& config) {
  std::vector<int64_t> sparse, shown;
  for (int64_t l = 0; l < config.num_layers; ++l) {
    if (!config.is_dense(l)) sparse.push_back(l);
  }
  const int64_t count = static_cast<int64_t>(sparse.size());
  const int64_t wanted = std::min(count, kShownLayers);
  for (int64_t i = 0; i < wanted; ++i) {
    shown.push_back(sparse[wanted == 1 ? 0 : i * (count - 1) / (wanted - 1)]);
  }
  return shown;
}

// Of a file that `eval` wrote, or somebody else.
absl::StatusOr<std::string> TablesOf(const std::filesystem::path& file) {
  const absl::StatusOr<json> results = ReadJsonObject(file);
  if (!results.ok()) return results.status();
  try {
    return MarkdownTables(nlohmann::ordered_json::parse(results->dump()));
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.string(), " is not what eval --json writes: ", error.what()));
  }
}

absl::StatusOr<std::string> Evaluations(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::string out;
  for (const std::filesystem::path& file : files) {
    const absl::StatusOr<std::string> tables = TablesOf(file);
    if (!tables.ok()) return tables.status();
    absl::StrAppend(&out, "<h3>", EscapeMarkup(file.stem().string()), "</h3>\n",
                    HtmlOfMarkdown(*tables));
  }
  return out;
}

std::string Page(const Run& run, const std::string& evaluations) {
  const std::string name = std::filesystem::path(run.folder).lexically_normal().filename();
  const std::string title = EscapeMarkup(absl::StrCat("Training run ", name));
  return absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>", title,
      "</title>\n", kStyle, "</head>\n<body>\n<h1>", title, "</h1>\n<p class=\"muted\">base model ",
      EscapeMarkup(run.config.base_model), "</p>\n", Facts(run),
      Section("Losses",
              "A step draws how many blocks are selected, so each number has a line of its own.",
              LossFigure(run.log)),
      Section("Evaluation", "Intervals are of 95 %.", evaluations),
      Section(
          "Branch weights",
          "The share of the softmax (of the gates, with the literal combiner) that the base set, "
          "the selected blocks and the compressed entries have, on one sequence of the corpus; "
          "the mean over heads and the tokens that have blocks to choose from.",
          BranchFigure(run.log)),
      Section(
          "What is selected",
          "The same sequence: of the 64 queries of a block the percentage that chose a block of "
          "keys. Grey: read always (sink, window, own block).",
          SelectionFigure(run.probe, ShownLayers(run.config), kShownHeads)),
      Section("Parameters", "Numbers of trained values.", Parameters(run.parameters)),
      Section("Options", "Those that are not the defaults come first.", Options(run.config)),
      Section("How it went", "", ProgressFigure(run.log)), "</body>\n</html>\n");
}

}  // namespace

absl::Status WriteRunReport(const std::string& folder, int64_t base_parameters) {
  const absl::StatusOr<Adapter> adapter = OpenAdapter(folder + "/adapter");
  if (!adapter.ok()) return adapter.status();
  absl::StatusOr<json> probe = ReadJsonObject(folder + "/probe.json");
  if (!probe.ok() && !absl::IsNotFound(probe.status())) return probe.status();
  const absl::StatusOr<std::string> evaluations = Evaluations(folder + "/eval");
  if (!evaluations.ok()) return evaluations.status();
  Run run;
  run.folder = folder;
  run.config = adapter->config;
  run.parameters = CountParameters(adapter->config, base_parameters);
  run.log = ReadRunLog(folder);
  if (probe.ok())
    run.probe = *std::move(probe);
  else
    run.probe = json::object();
  return WriteFile(folder + "/report.html", Page(run, *evaluations));
}

}  // namespace sieve
