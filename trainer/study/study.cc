#include "trainer/study/study.h"

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/adapter/adapter_file.h"
#include "model/adapter/adapter_json.h"
#include "model/adapter/parameter_report.h"
#include "model/checkpoint/json.h"
#include "model/checkpoint/sha256_stream.h"
#include "model/version.h"
#include "trainer/evaluate.h"
#include "trainer/layer_tensors.h"
#include "trainer/report/run_log.h"
#include "trainer/report/write_file.h"
#include "trainer/study/write_study.h"
#include "trainer/token_file.h"
#include "trainer/train.h"

namespace sieve {
namespace {

using nlohmann::json;

constexpr size_t kKeyDigits = 16;

std::string NameOf(const StudyGrid& grid, const StudyCell& cell) {
  return absl::StrCat(grid.name, ": ", absl::StrJoin(cell.variants, ", "));
}

// Of all steps, also of those before a stop.
double StepSeconds(const json& log) {
  double sum = 0;
  for (const json& line : log) sum += line.value("seconds", 0.0);
  return sum;
}

double SecondsSince(absl::Time begin) { return absl::ToDoubleSeconds(absl::Now() - begin); }

class Studies {
 public:
  explicit Studies(const StudyJob& job) : job_(job) {}

  absl::Status Run() {
    absl::Status status = Prepare();
    for (size_t g = 0; status.ok() && g < job_.grids.size(); ++g) status = RunGrid(job_.grids[g]);
    return status;
  }

 private:
  // Finds out what cannot work before hours of work are spent.
  absl::Status Prepare() {
    std::set<std::string> names;
    for (const StudyGrid& grid : job_.grids) {
      if (!names.insert(grid.name).second) {
        return absl::InvalidArgumentError(absl::StrCat("two studies are named ", grid.name));
      }
      for (const StudyCell& cell : grid.cells) {
        const auto adapter = AdapterOf(cell);
        const auto corpus =
            adapter.ok() ? Corpus(cell) : absl::StatusOr<const TokenFile*>(adapter.status());
        if (!corpus.ok()) {
          return absl::Status(corpus.status().code(),
                              absl::StrCat(NameOf(grid, cell), ": ", corpus.status().message()));
        }
      }
      for (const StudyText& text : grid.texts) {
        const auto tokens = TokensOf(text);
        if (!tokens.ok()) return tokens.status();
        if (static_cast<int64_t>((*tokens)->tokens().size()) < text.window) {
          return absl::InvalidArgumentError(absl::StrCat(text.path, " has ",
                                                         (*tokens)->tokens().size(),
                                                         " tokens: no window of ", text.window));
        }
      }
      cells_ += grid.cells.size();
    }
    return absl::OkStatus();
  }

  absl::Status RunGrid(const StudyGrid& grid) {
    std::vector<json> results;
    for (const StudyCell& cell : grid.cells) {
      ++number_;
      absl::StatusOr<json> result = RunCell(grid, cell);
      if (!result.ok()) return result.status();
      result->update({{"study", grid.name}, {"cell", json::object()}});
      for (size_t i = 0; i < grid.axes.size(); ++i) {
        (*result)["cell"][grid.axes[i]] = cell.variants[i];
      }
      results.push_back(*std::move(result));
      const absl::Status status = WriteStudy(grid, results, job_.out);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<json> RunCell(const StudyGrid& grid, const StudyCell& cell) {
    const std::string key = KeyOf(grid, cell), dir = absl::StrCat(job_.out, "/cells/", key);
    absl::StatusOr<json> found = ReadJsonObject(dir + "/result.json");
    if (found.ok() || !absl::IsNotFound(found.status())) {
      if (found.ok()) Say(grid, cell, "is finished");
      return found;
    }
    Say(grid, cell, "trains");
    const AdapterConfig adapter = *AdapterOf(cell);
    const absl::Status trained = TrainCell(cell, adapter, dir);
    if (!trained.ok() && !absl::IsAborted(trained)) return trained;
    json result = Describe(cell, adapter);
    result["key"] = key;
    result["log"] = ReadRunLog(dir);
    result["training_seconds"] = StepSeconds(result["log"]);
    if (trained.ok()) {
      const absl::Time begin = absl::Now();
      absl::StatusOr<json> texts = MeasureCell(grid, dir);
      if (!texts.ok()) return texts.status();
      result["texts"] = *std::move(texts);
      result["evaluation_seconds"] = SecondsSince(begin);
    } else {
      result["error"] = std::string(trained.message());
    }
    const absl::Status written = WriteFile(dir + "/result.json", result.dump() + "\n");
    if (!written.ok()) return written;
    // Twice the size of the adapter, and of no use to a cell that is finished.
    std::error_code ignored;
    std::filesystem::remove_all(dir + "/state", ignored);
    return result;
  }

  absl::Status TrainCell(const StudyCell& cell, const AdapterConfig& adapter,
                         const std::string& dir) {
    const absl::StatusOr<const TokenFile*> corpus = Corpus(cell);
    if (!corpus.ok()) return corpus.status();
    return Train({.llama = job_.llama,
                  .adapter = adapter,
                  .run = &cell.run,
                  .corpus = *corpus,
                  .out = dir,
                  .progress = job_.progress,
                  .stop = job_.stop});
  }

  json Describe(const StudyCell& cell, const AdapterConfig& adapter) const {
    const ParameterReport parameters =
        CountParameters(adapter, BaseParameters(job_.llama->config()));
    return {{"run", json::parse(cell.run.text)},
            {"adapter", json::parse(AdapterConfigToJson(adapter).dump())},
            {"parameters", parameters.sum.total()},
            {"base_parameters", parameters.base_parameters}};
  }

  absl::StatusOr<json> MeasureCell(const StudyGrid& grid, const std::string& dir) {
    const absl::StatusOr<Adapter> adapter = OpenAdapter(dir + "/adapter");
    if (!adapter.ok()) return adapter.status();
    const auto layers = LoadLayers(*adapter, job_.llama->options().device());
    json results = json::array();
    for (const StudyText& text : grid.texts) {
      if (job_.stop != nullptr && job_.stop->load()) {
        return absl::CancelledError("stopped while a cell was measured");
      }
      const auto tokens = TokensOf(text);
      if (!tokens.ok()) return tokens.status();
      const auto measured = Evaluate(*job_.llama, adapter->config, layers, (*tokens)->tokens(),
                                     {.window = text.window,
                                      .max_windows = text.windows,
                                      .windows_at_once = grid.windows_at_once,
                                      .selected_blocks = grid.selected_blocks});
      if (!measured.ok()) return measured.status();
      json result = json::parse(measured->dump());
      result["name"] = text.name;
      results.push_back(std::move(result));
    }
    return results;
  }

  absl::StatusOr<AdapterConfig> AdapterOf(const StudyCell& cell) const {
    return AdapterConfigFor(cell.run.adapter, job_.llama->config(), job_.base_digest);
  }

  absl::StatusOr<const TokenFile*> Corpus(const StudyCell& cell) {
    return Tokens(cell.corpus, cell.run.corpus);
  }

  absl::StatusOr<const TokenFile*> TokensOf(const StudyText& text) {
    return Tokens(text.path, {{.path = text.path, .fields = {}}});
  }

  // Tokenised and mapped once for all cells.
  absl::StatusOr<const TokenFile*> Tokens(const std::string& name,
                                          const std::vector<TextSource>& sources) {
    auto found = tokens_.find(name);
    if (found == tokens_.end()) {
      absl::StatusOr<TokenFile> file = TokeniseOnce(sources, *job_.tokenizer, job_.cache);
      if (!file.ok()) return file.status();
      found = tokens_.emplace(name, *std::move(file)).first;
    }
    return &found->second;
  }

  // Of all that a result depends on: kVersion stands for how it is computed. REQUIRES: the texts
  // are tokenised.
  std::string KeyOf(const StudyGrid& grid, const StudyCell& cell) {
    Sha256Stream stream;
    stream.AddText({kVersion.data(), kVersion.size()});
    stream.AddText(c10::DeviceTypeName(job_.llama->options().device().type()));
    stream.AddText(c10::toString(at::typeMetaToScalarType(job_.llama->options().dtype())));
    stream.AddText(job_.base_digest);
    stream.AddText(AdapterConfigToJson(*AdapterOf(cell)).dump());
    stream.AddText(cell.run.text);
    stream.AddText((*Corpus(cell))->digest());
    stream.AddText(grid.evaluation);
    for (const StudyText& text : grid.texts) {
      stream.AddText((*TokensOf(text))->digest());
    }
    return stream.HexDigest().substr(0, kKeyDigits);
  }

  void Say(const StudyGrid& grid, const StudyCell& cell, absl::string_view what) const {
    if (job_.progress == nullptr) return;
    *job_.progress << absl::StrCat("cell ", number_, " of ", cells_, ", ", NameOf(grid, cell), " ",
                                   what)
                   << std::endl;
  }

  const StudyJob& job_;
  std::map<std::string, TokenFile> tokens_;
  size_t number_ = 0, cells_ = 0;
};

}  // namespace

absl::Status RunStudies(const StudyJob& job) { return Studies(job).Run(); }

}  // namespace sieve
