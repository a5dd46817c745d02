#include "model/checkpoint/random_checkpoint.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/hf_config.h"
#include "model/checkpoint/hf_vocabulary.h"
#include "model/checkpoint/json.h"
#include "model/checkpoint/pad_vocabulary.h"
#include "model/checkpoint/random_weights.h"
#include "model/tokenizer/byte_vocabulary.h"
#include "model/tokenizer/end_tokens.h"
#include "model/tokenizer/tokenizer_folder.h"

namespace sieve {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class RandomCheckpoint : public Checkpoint {
 public:
  RandomCheckpoint(ModelConfig config, RandomWeights weights, Vocabulary vocabulary)
      : config_(std::move(config)),
        weights_(std::move(weights)),
        vocabulary_(std::move(vocabulary)) {}

  const ModelConfig& config() const override { return config_; }
  const LlamaWeights& weights() const override { return weights_.weights; }
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  int64_t file_bytes() const override { return weights_.memory.bytes(); }

 private:
  const ModelConfig config_;
  const RandomWeights weights_;
  const Vocabulary vocabulary_;
};

absl::Status Annotate(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

// A config.json is called by its folder, another file by its own name.
std::string NameOf(const std::string& config_path) {
  const fs::path path(config_path);
  if (path.filename() != "config.json") return path.stem();
  std::error_code error;
  return fs::canonical(RandomCheckpointFolder(config_path), error).filename();
}

absl::StatusOr<double> ReadDeviation(const json& config) {
  double deviation = 0.02;  // transformers' default
  const absl::Status status = GetField(config, "initializer_range", deviation);
  if (!status.ok()) return status;
  if (deviation > 0 && deviation <= 1) return deviation;
  return absl::InvalidArgumentError(
      absl::StrCat("\"initializer_range\" is ", deviation, ", expected more than 0 and at most 1"));
}

absl::StatusOr<std::optional<int32_t>> ReadBosId(const json& config, int64_t vocabulary_size) {
  int64_t id = -1;
  const auto field = config.find("bos_token_id");
  if (field == config.end() || field->is_null()) return std::optional<int32_t>();
  const absl::Status status = GetField(config, "bos_token_id", id);
  if (!status.ok()) return status;
  if (id >= 0 && id < vocabulary_size) return std::optional<int32_t>(id);
  return absl::InvalidArgumentError(
      absl::StrCat("\"bos_token_id\" is ", id, ", expected 0 to ", vocabulary_size - 1));
}

absl::StatusOr<Vocabulary> StandInVocabulary(const json& config, int64_t size) {
  const absl::StatusOr<std::optional<int32_t>> bos = ReadBosId(config, size);
  if (!bos.ok()) return bos.status();
  absl::StatusOr<std::vector<int32_t>> eos = ReadEosIds(config, size);
  if (!eos.ok()) return eos.status();
  return MakeByteVocabulary(size, *bos, *std::move(eos));
}

// Adds what the config, which may be none that the folder's reader looks at, says of it.
absl::Status CompleteVocabulary(const json& config, const ModelConfig& model,
                                Vocabulary& vocabulary) {
  const absl::StatusOr<std::vector<int32_t>> eos = ReadEosIds(config, vocabulary.tokens.size());
  if (!eos.ok()) return eos.status();
  for (const int32_t id : *eos) AddEndToken(id, &vocabulary);
  return PadVocabulary(model, vocabulary);
}

absl::StatusOr<Vocabulary> ReadVocabulary(const std::string& config_path, const json& config,
                                          const ModelConfig& model) {
  if (model.vocabulary_size > kMaxVocabularySize) {
    return absl::InvalidArgumentError(absl::StrCat(config_path, ": \"vocab_size\" is ",
                                                   model.vocabulary_size, ", expected at most ",
                                                   kMaxVocabularySize));
  }
  const std::string folder = RandomCheckpointFolder(config_path);
  if (!HasHfVocabulary(folder)) {
    absl::StatusOr<Vocabulary> stand_in = StandInVocabulary(config, model.vocabulary_size);
    if (!stand_in.ok()) return Annotate(config_path, stand_in.status());
    return stand_in;
  }
  absl::StatusOr<Vocabulary> vocabulary = ReadHfVocabulary(folder);
  if (!vocabulary.ok()) return vocabulary.status();
  const absl::Status status = CompleteVocabulary(config, model, *vocabulary);
  if (!status.ok()) return Annotate(config_path, status);
  return vocabulary;
}

}  // namespace

std::string RandomCheckpointFolder(const std::string& config_path) {
  const fs::path folder = fs::path(config_path).parent_path();
  return folder.empty() ? "." : folder.string();
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenRandomCheckpoint(
    const std::string& config_path, const RandomCheckpointOptions& options) {
  absl::StatusOr<HfConfig> config = ReadHfConfig(config_path);
  if (!config.ok()) return config.status();
  const absl::StatusOr<json> object = ReadJsonObject(config_path);
  if (!object.ok()) return object.status();
  if (config->model.name.empty()) config->model.name = NameOf(config_path);
  const absl::StatusOr<double> deviation = ReadDeviation(*object);
  if (!deviation.ok()) return Annotate(config_path, deviation.status());
  absl::StatusOr<Vocabulary> vocabulary = ReadVocabulary(config_path, *object, config->model);
  if (!vocabulary.ok()) return vocabulary.status();
  absl::StatusOr<RandomWeights> weights = MakeRandomWeights(
      *config, {.seed = options.seed, .deviation = *deviation, .num_threads = options.num_threads});
  if (!weights.ok()) return Annotate(config_path, weights.status());
  return std::make_unique<RandomCheckpoint>(std::move(config->model), *std::move(weights),
                                            *std::move(vocabulary));
}

}  // namespace sieve
