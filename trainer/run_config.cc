#include "trainer/run_config.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "model/adapter/adapter_json.h"
#include "model/checkpoint/json.h"

namespace sieve {
namespace {

using nlohmann::json;

absl::Status Invalid(absl::string_view key, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(key, " must be ", expected));
}

absl::Status CheckKeys(const json& object, const std::set<std::string>& known) {
  if (!object.is_object()) return absl::InvalidArgumentError("an object is expected");
  for (const auto& [key, value] : object.items()) {
    if (!known.contains(key)) return absl::InvalidArgumentError(absl::StrCat("unknown key ", key));
  }
  return absl::OkStatus();
}

absl::Status GetTexts(const json& object, const char* key, std::vector<std::string>* out) {
  if (!object.contains(key)) return absl::OkStatus();
  if (!object[key].is_array()) return Invalid(key, "an array of texts");
  for (const json& text : object[key]) {
    if (!text.is_string()) return Invalid(key, "an array of texts");
    out->push_back(text.get<std::string>());
  }
  return absl::OkStatus();
}

absl::Status GetBudgets(const json& object, StageConfig* stage) {
  if (!object.contains("selected_blocks")) return absl::OkStatus();
  const json& budgets = object["selected_blocks"];
  stage->selected_blocks.clear();
  for (const json& blocks : budgets) {
    if (!budgets.is_array() || !blocks.is_number_integer() || blocks < 0 || blocks > 1024) {
      return Invalid("selected_blocks", "an array of numbers from 0 to 1024");
    }
    stage->selected_blocks.push_back(blocks.get<int64_t>());
  }
  return stage->selected_blocks.empty() ? Invalid("selected_blocks", "not empty")
                                        : absl::OkStatus();
}

absl::Status CheckStage(const StageConfig& stage) {
  if (stage.steps < 0) return Invalid("steps", "at least 0");
  if (stage.sequences < 1 || stage.sequences_at_once < 1 ||
      stage.sequences % stage.sequences_at_once != 0) {
    return Invalid("sequences", "a positive multiple of sequences_at_once");
  }
  if (stage.vector_rate < 0 || stage.matrix_rate < 0) return Invalid("rates", "at least 0");
  if (stage.clip <= 0) return Invalid("clip", "over 0");
  if (stage.selector_weight < 0) return Invalid("selector_weight", "at least 0");
  return absl::OkStatus();
}

absl::StatusOr<StageConfig> ParseStage(const json& object) {
  StageConfig stage;
  absl::Status status = CheckKeys(
      object, {"kind", "steps", "sequences", "sequences_at_once", "selected_blocks", "vector_rate",
               "matrix_rate", "weight_decay", "clip", "selector_weight", "trained"});
  if (!status.ok()) return status;
  std::string kind;
  status.Update(GetField(object, "kind", kind));
  status.Update(GetField(object, "steps", stage.steps));
  status.Update(GetField(object, "sequences", stage.sequences));
  status.Update(GetField(object, "sequences_at_once", stage.sequences_at_once));
  status.Update(GetField(object, "vector_rate", stage.vector_rate));
  status.Update(GetField(object, "matrix_rate", stage.matrix_rate));
  status.Update(GetField(object, "weight_decay", stage.weight_decay));
  status.Update(GetField(object, "clip", stage.clip));
  status.Update(GetField(object, "selector_weight", stage.selector_weight));
  status.Update(GetBudgets(object, &stage));
  status.Update(GetTexts(object, "trained", &stage.trained));
  stage.end_to_end = kind == "end_to_end";
  if (status.ok() && kind != "layers" && !stage.end_to_end) {
    return Invalid("kind", "layers or end_to_end");
  }
  if (status.ok()) status = CheckStage(stage);
  if (!status.ok()) return status;
  return stage;
}

absl::Status ParseCorpus(const json& sources, const std::string& data_folder, RunConfig* run) {
  if (!sources.is_array()) return Invalid("corpus", "an array");
  for (const json& object : sources) {
    TextSource source;
    std::string path;
    absl::Status status = CheckKeys(object, {"path", "fields"});
    if (status.ok()) status = GetField(object, "path", path);
    if (status.ok()) status = GetTexts(object, "fields", &source.fields);
    if (!status.ok()) return status;
    if (path.empty()) return Invalid("path", "given");
    source.path = path[0] == '/' ? path : absl::StrCat(data_folder, "/", path);
    run->corpus.push_back(source);
  }
  return absl::OkStatus();
}

absl::Status CheckRun(const RunConfig& run) {
  if (run.corpus.empty()) return Invalid("corpus", "given");
  if (run.sequence_length < 2) return Invalid("sequence_length", "at least 2");
  if (run.calibration_sequences < 1) return Invalid("calibration_sequences", "at least 1");
  if (run.query_chunk < 64 || run.query_chunk % 64 != 0) {
    return Invalid("query_chunk", "a multiple of 64");
  }
  if (run.logit_rows < 1) return Invalid("logit_rows", "at least 1");
  if (run.checkpoint_minutes <= 0) return Invalid("checkpoint_minutes", "over 0");
  if (run.divergence <= 1) return Invalid("divergence", "over 1");
  return absl::OkStatus();
}

absl::StatusOr<RunConfig> Parse(const json& object, const std::string& data_folder) {
  RunConfig run;
  absl::Status status = CheckKeys(
      object, {"adapter", "corpus", "sequence_length", "calibration_sequences", "tail_bias", "seed",
               "query_chunk", "logit_rows", "checkpoint_minutes", "divergence", "stages"});
  if (!status.ok()) return status;
  int64_t seed = 1;
  status.Update(GetField(object, "sequence_length", run.sequence_length));
  status.Update(GetField(object, "calibration_sequences", run.calibration_sequences));
  status.Update(GetField(object, "tail_bias", run.tail_bias));
  status.Update(GetField(object, "seed", seed));
  status.Update(GetField(object, "query_chunk", run.query_chunk));
  status.Update(GetField(object, "logit_rows", run.logit_rows));
  status.Update(GetField(object, "checkpoint_minutes", run.checkpoint_minutes));
  status.Update(GetField(object, "divergence", run.divergence));
  status.Update(ParseCorpus(object.value("corpus", json()), data_folder, &run));
  if (!status.ok()) return status;
  run.seed = static_cast<uint64_t>(seed);
  run.adapter = object.value("adapter", json::object());
  for (const json& part : object.value("stages", json::array())) {
    const absl::StatusOr<StageConfig> stage = ParseStage(part);
    if (!stage.ok()) return stage.status();
    run.stages.push_back(*stage);
  }
  run.text = object.dump();
  status = CheckRun(run);
  if (!status.ok()) return status;
  return run;
}

}  // namespace

absl::StatusOr<RunConfig> ReadRunConfig(const std::string& path, const std::string& data_folder) {
  const absl::StatusOr<json> object = ReadJsonObject(path);
  if (!object.ok()) return object.status();
  absl::StatusOr<RunConfig> run = Parse(*object, data_folder);
  if (run.ok()) return run;
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", run.status().message()));
}

absl::StatusOr<AdapterConfig> AdapterConfigFor(const json& options, const ModelConfig& model,
                                               const std::string& base_digest) {
  AdapterConfig config;
  config.base_model = model.name;
  config.base_digest = base_digest;
  config.num_layers = model.num_layers;
  config.hidden_size = model.hidden_size;
  config.num_heads = model.num_heads;
  config.num_kv_heads = model.num_kv_heads;
  config.head_dim = model.head_dim;
  json object = json::parse(AdapterConfigToJson(config).dump());
  object.update(options);
  return AdapterConfigFromJson(object);
}

}  // namespace sieve
