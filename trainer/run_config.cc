#include "trainer/run_config.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "model/adapter/adapter_json.h"
#include "model/checkpoint/json.h"

namespace sieve {
namespace {

using nlohmann::json;

constexpr int64_t kMaxTokens = int64_t{1} << 24;  // of a made document

absl::Status Invalid(absl::string_view key, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(key, " must be ", expected));
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

absl::Status GetNumbers(const json& object, const char* key, int64_t least, int64_t most,
                        std::vector<int64_t>* out) {
  if (!object.contains(key)) return absl::OkStatus();
  const json& numbers = object[key];
  out->clear();
  for (const json& number : numbers) {
    if (!numbers.is_array() || !number.is_number_integer() || number < least || number > most) {
      return Invalid(key, absl::StrCat("an array of numbers from ", least, " to ", most));
    }
    out->push_back(number.get<int64_t>());
  }
  return out->empty() ? Invalid(key, "not empty") : absl::OkStatus();
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
  if (stage.task_weight < 0) return Invalid("task_weight", "at least 0");
  if (stage.task_weight > 0 && !stage.end_to_end) {
    return Invalid("task_weight", "of a stage end_to_end");
  }
  return absl::OkStatus();
}

absl::StatusOr<StageConfig> ParseStage(const json& object) {
  StageConfig stage;
  absl::Status status = CheckKeys(
      object, {"kind", "steps", "sequences", "sequences_at_once", "selected_blocks", "vector_rate",
               "matrix_rate", "weight_decay", "clip", "selector_weight", "task_weight", "trained"});
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
  status.Update(GetField(object, "task_weight", stage.task_weight));
  status.Update(GetNumbers(object, "selected_blocks", 0, 1024, &stage.selected_blocks));
  status.Update(GetTexts(object, "trained", &stage.trained));
  stage.end_to_end = kind == "end_to_end";
  if (status.ok() && kind != "layers" && !stage.end_to_end) {
    return Invalid("kind", "layers or end_to_end");
  }
  if (status.ok()) status = CheckStage(stage);
  if (!status.ok()) return status;
  return stage;
}

absl::Status ParseFormat(const json& object, TextSource* source) {
  std::string format;
  const absl::Status status = GetField(object, "format", format);
  if (!status.ok()) return status;
  if (format.empty()) format = source->fields.empty() ? "text" : "lines";
  if (format == "text") {
    source->format = TextFormat::kText;
    return source->fields.empty() ? absl::OkStatus() : Invalid("fields", "absent for text");
  }
  if (format == "lines") {
    source->format = TextFormat::kLines;
    return source->fields.empty() ? Invalid("fields", "given for lines") : absl::OkStatus();
  }
  if (format == "gsm8k") {
    source->format = TextFormat::kGsm8k;
    return source->fields.empty() ? absl::OkStatus() : Invalid("fields", "absent for gsm8k");
  }
  if (format != "chat") return Invalid("format", "text, lines, gsm8k or chat");
  source->format = TextFormat::kChat;
  if (source->fields.empty()) source->fields = {"instruction", "input", "response"};
  return source->fields.size() < 2 ? Invalid("fields", "at least two for chat") : absl::OkStatus();
}

absl::Status ParseRetrieval(const json& object, bool chat, int64_t tokens, RetrievalOptions* out) {
  std::string make;
  absl::Status status = GetField(object, "make", make);
  if (!status.ok()) return status;
  if (make.empty()) {
    for (const char* key : {"documents", "tokens", "facts", "seed"}) {
      if (object.contains(key)) return Invalid(key, "absent without \"make\"");
    }
    return absl::OkStatus();
  }
  if (make != "retrieval") return Invalid("make", "retrieval");
  if (chat) return Invalid("format", "of text where something is made of it");
  int64_t seed = 1;
  out->tokens = tokens;
  status.Update(GetField(object, "documents", out->documents));
  status.Update(GetField(object, "tokens", out->tokens));
  status.Update(GetField(object, "seed", seed));
  status.Update(GetNumbers(object, "facts", 1, 1024, &out->facts));
  out->seed = static_cast<uint64_t>(seed);
  if (status.ok() && out->documents < 1) return Invalid("documents", "at least 1");
  if (status.ok() && (out->tokens < 1 || out->tokens > kMaxTokens)) {
    return Invalid("tokens", absl::StrCat("1 to ", kMaxTokens));
  }
  return status;
}

absl::StatusOr<TextSource> ParseSource(const json& object, const std::string& data_folder,
                                       int64_t sequence_length) {
  TextSource source;
  absl::Status status = CheckKeys(
      object, {"path", "fields", "format", "join", "make", "documents", "tokens", "facts", "seed"});
  if (!status.ok()) return status;
  std::string path;
  status.Update(GetField(object, "path", path));
  status.Update(GetField(object, "join", source.join));
  status.Update(GetTexts(object, "fields", &source.fields));
  if (status.ok()) status = ParseFormat(object, &source);
  if (status.ok())
    status = ParseRetrieval(object, source.format == TextFormat::kChat, sequence_length,
                            &source.retrieval);
  if (!status.ok()) return status;
  if (path.empty()) return Invalid("path", "given");
  if (source.join < 1) return Invalid("join", "at least 1");
  source.path = path[0] == '/' ? path : absl::StrCat(data_folder, "/", path);
  return source;
}

// After sequence_length, which is the length of what is made.
absl::Status ParseCorpus(const json& sources, const std::string& data_folder, RunConfig* run) {
  if (!sources.is_array()) return Invalid("corpus", "an array");
  for (const json& object : sources) {
    absl::StatusOr<TextSource> source = ParseSource(object, data_folder, run->sequence_length);
    if (!source.ok()) return source.status();
    run->corpus.push_back(*std::move(source));
  }
  return absl::OkStatus();
}

absl::Status CheckRun(const RunConfig& run) {
  if (run.corpus.empty()) return Invalid("corpus", "given");
  if (run.sequence_length < 2) return Invalid("sequence_length", "at least 2");
  if (run.shortest_document < 2) return Invalid("shortest_document", "at least 2");
  if (run.calibration_sequences < 1) return Invalid("calibration_sequences", "at least 1");
  if (run.query_chunk < 64 || run.query_chunk % 64 != 0) {
    return Invalid("query_chunk", "a multiple of 64");
  }
  if (run.logit_rows < 1) return Invalid("logit_rows", "at least 1");
  if (run.checkpoint_minutes <= 0) return Invalid("checkpoint_minutes", "over 0");
  if (run.probe_steps < 0) return Invalid("probe_steps", "at least 0");
  if (run.divergence <= 1) return Invalid("divergence", "over 1");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RunConfig> ParseRunConfig(const json& object, const std::string& data_folder) {
  RunConfig run;
  absl::Status status =
      CheckKeys(object, {"adapter", "corpus", "sequence_length", "shortest_document",
                         "calibration_sequences", "tail_bias", "seed", "query_chunk", "logit_rows",
                         "checkpoint_minutes", "probe_steps", "divergence", "stages"});
  if (!status.ok()) return status;
  int64_t seed = 1;
  status.Update(GetField(object, "sequence_length", run.sequence_length));
  status.Update(GetField(object, "shortest_document", run.shortest_document));
  status.Update(GetField(object, "calibration_sequences", run.calibration_sequences));
  status.Update(GetField(object, "tail_bias", run.tail_bias));
  status.Update(GetField(object, "seed", seed));
  status.Update(GetField(object, "query_chunk", run.query_chunk));
  status.Update(GetField(object, "logit_rows", run.logit_rows));
  status.Update(GetField(object, "checkpoint_minutes", run.checkpoint_minutes));
  status.Update(GetField(object, "probe_steps", run.probe_steps));
  status.Update(GetField(object, "divergence", run.divergence));
  status.Update(ParseCorpus(object.value("corpus", json()), data_folder, &run));
  if (!status.ok()) return status;
  run.seed = static_cast<uint64_t>(seed);
  run.adapter = object.value("adapter", json::object());
  if (!run.adapter.is_object()) return Invalid("adapter", "an object");
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

absl::StatusOr<RunConfig> ReadRunConfig(const std::string& path, const std::string& data_folder) {
  const absl::StatusOr<json> object = ReadJsonObject(path);
  if (!object.ok()) return object.status();
  absl::StatusOr<RunConfig> run = ParseRunConfig(*object, data_folder);
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
