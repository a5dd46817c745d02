#include "trainer/report/run_log.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"

namespace sieve {
namespace {

using nlohmann::json;

constexpr absl::Duration kProgressEvery = absl::Seconds(5);
constexpr char kFile[] = "/log.jsonl";

// Arrays by layer. What is not finite becomes null.
json BranchesJson(const BranchWeights& layers) {
  json base = json::array(), selected = json::array(), compressed = json::array();
  for (const BranchShares& layer : layers) {
    base.push_back(layer.base);
    selected.push_back(layer.selected);
    compressed.push_back(layer.compressed);
  }
  return {{"base", base}, {"selected", selected}, {"compressed", compressed}};
}

json Line(const StepReport& report) {
  json line = {{"stage", report.stage},
               {"step", report.step},
               {"loss", report.loss},
               {"gradient_norm", report.gradient_norm},
               {"vector_rate", report.vector_rate},
               {"matrix_rate", report.matrix_rate},
               {"selected_blocks", report.selected_blocks},
               {"tokens_per_second", report.tokens_per_second},
               {"seconds", report.seconds}};
  for (const auto& [name, value] : report.terms) line[name] = value;
  if (report.branches) line["branches"] = BranchesJson(*report.branches);
  return line;
}

Scalars ScalarsOf(const StepReport& report) {
  Scalars scalars = {{"loss/total", report.loss}, {"loss/mean", report.mean_loss}};
  for (const auto& [name, value] : report.terms) scalars.push_back({"loss/" + name, value});
  scalars.push_back({"gradient_norm", report.gradient_norm});
  scalars.push_back({"rate/vectors", report.vector_rate});
  scalars.push_back({"rate/matrices", report.matrix_rate});
  scalars.push_back({"selected_blocks", static_cast<double>(report.selected_blocks)});
  scalars.push_back({"tokens_per_second", report.tokens_per_second});
  if (!report.branches) return scalars;
  for (size_t l = 0; l < report.branches->size(); ++l) {
    const BranchShares& shares = (*report.branches)[l];
    // With as many digits for each layer, for TensorBoard sorts by name.
    const std::string layer = absl::StrFormat("layer_%03d", l);
    scalars.push_back({"branch_base/" + layer, shares.base});
    scalars.push_back({"branch_selected/" + layer, shares.selected});
    scalars.push_back({"branch_compressed/" + layer, shares.compressed});
  }
  return scalars;
}

// A crash may have cut the last line: what is added then must not become a part of it.
bool EndsWithinALine(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return file.seekg(-1, std::ios::end) && file.get() != '\n';
}

}  // namespace

absl::StatusOr<RunLog> RunLog::Open(const std::string& folder, std::ostream* progress) {
  absl::StatusOr<EventFile> events = EventFile::Create(folder + "/tensorboard");
  if (!events.ok()) return events.status();
  const bool cut = EndsWithinALine(folder + kFile);
  RunLog log(folder + kFile, *std::move(events), progress);
  if (cut) log.lines_ << '\n' << std::flush;
  if (!log.lines_) return absl::UnavailableError(absl::StrCat("cannot write ", log.path_));
  return log;
}

RunLog::RunLog(std::string path, EventFile events, std::ostream* progress)
    : path_(std::move(path)),
      lines_(path_, std::ios::app),
      events_(std::move(events)),
      progress_(progress) {}

absl::Status RunLog::Add(const StepReport& report) {
  lines_ << Line(report).dump() << std::endl;
  if (!lines_) return absl::UnavailableError(absl::StrCat("cannot write ", path_));
  Show(report);
  return events_.Add(report.step_of_run, ScalarsOf(report));
}

void RunLog::Show(const StepReport& report) {
  const absl::Time now = absl::Now();
  const bool last = report.step == report.steps;
  if (progress_ == nullptr || (!last && now - shown_ < kProgressEvery)) return;
  shown_ = now;
  const auto term = [](std::string* out, const Scalars::value_type& t) {
    absl::StrAppendFormat(out, "%s %.5f", t.first, t.second);
  };
  *progress_ << absl::StrFormat(
                    "stage %d, step %d of %d: loss %.5f (%s), mean %.5f, %.0f tokens/s, %s left",
                    report.stage, report.step, report.steps, report.loss,
                    absl::StrJoin(report.terms, ", ", term), report.mean_loss,
                    report.tokens_per_second,
                    absl::FormatDuration(absl::Trunc(report.left, absl::Seconds(1))))
             << std::endl;
}

json ReadRunLog(const std::string& folder) {
  std::map<std::pair<int64_t, int64_t>, json> steps;
  std::ifstream file(folder + kFile);
  for (std::string text; std::getline(file, text);) {
    json line = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!line.is_object()) continue;
    const auto number = [&line](const char* key) -> int64_t {
      return line.contains(key) && line[key].is_number_integer() ? line[key].get<int64_t>() : -1;
    };
    const std::pair<int64_t, int64_t> place = {number("stage"), number("step")};
    if (place.first > 0 && place.second > 0) steps[place] = std::move(line);
  }
  json lines = json::array();
  for (auto& [place, line] : steps) lines.push_back(std::move(line));
  return lines;
}

}  // namespace sieve
