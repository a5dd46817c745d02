#include "model/checkpoint/checkpoint.h"

#include <filesystem>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/gguf.h"
#include "model/checkpoint/hf_config.h"
#include "model/checkpoint/hf_tensors.h"
#include "model/checkpoint/hf_vocabulary.h"
#include "model/checkpoint/llama_gguf.h"
#include "model/checkpoint/llama_weights.h"
#include "model/checkpoint/pad_vocabulary.h"
#include "model/tokenizer/gguf_vocabulary.h"

namespace sieve {
namespace {

namespace fs = std::filesystem;

// `Files` own the memory that the weights view.
template <typename Files>
class CheckpointOf : public Checkpoint {
 public:
  CheckpointOf(Files files, int64_t file_bytes, ModelConfig config, LlamaWeights weights,
               Vocabulary vocabulary)
      : files_(std::move(files)),
        file_bytes_(file_bytes),
        config_(std::move(config)),
        weights_(std::move(weights)),
        vocabulary_(std::move(vocabulary)) {}

  const ModelConfig& config() const override { return config_; }
  const LlamaWeights& weights() const override { return weights_; }
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  int64_t file_bytes() const override { return file_bytes_; }

 private:
  const Files files_;
  const int64_t file_bytes_;
  const ModelConfig config_;
  const LlamaWeights weights_;
  const Vocabulary vocabulary_;
};

absl::Status Annotate(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

// transformers loads no bias that the config does not announce, and makes one up where the file
// lacks it.
absl::Status CheckBiases(const HfConfig& config, const LlamaWeights& weights) {
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    const LayerWeights& layer = weights.layers[i];
    for (const TensorView* bias : {&layer.q_bias, &layer.k_bias, &layer.v_bias, &layer.o_bias}) {
      if (static_cast<bool>(*bias) != config.attention_bias) {
        return absl::InvalidArgumentError(absl::StrCat("layer ", i, ": attention_bias is ",
                                                       config.attention_bias ? "true" : "false",
                                                       " in config.json, unlike the tensors"));
      }
    }
    for (const TensorView* bias : {&layer.gate_bias, &layer.up_bias, &layer.down_bias}) {
      if (static_cast<bool>(*bias) != config.mlp_bias) {
        return absl::InvalidArgumentError(absl::StrCat("layer ", i, ": mlp_bias is ",
                                                       config.mlp_bias ? "true" : "false",
                                                       " in config.json, unlike the tensors"));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenGguf(const std::string& path) {
  absl::StatusOr<std::unique_ptr<GgufFile>> file = GgufFile::Open(path);
  if (!file.ok()) return file.status();
  absl::StatusOr<ModelConfig> config = ReadGgufConfig(**file);
  if (!config.ok()) return config.status();
  if (config->name.empty()) config->name = fs::path(path).stem();
  absl::StatusOr<LlamaWeights> weights =
      BindLlamaWeights(*config, kGgufTensorNames, (*file)->tensors());
  if (!weights.ok()) return Annotate(path, weights.status());
  absl::StatusOr<Vocabulary> vocabulary = VocabularyFromGguf((*file)->metadata());
  absl::Status status = vocabulary.status();
  if (status.ok()) status = PadVocabulary(*config, *vocabulary);
  if (!status.ok()) return Annotate(path, status);
  const int64_t bytes = (*file)->file_bytes();
  return std::make_unique<CheckpointOf<std::unique_ptr<GgufFile>>>(
      *std::move(file), bytes, *std::move(config), *std::move(weights), *std::move(vocabulary));
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenHfFolder(const std::string& dir) {
  absl::StatusOr<HfConfig> config = ReadHfConfig(dir + "/config.json");
  if (!config.ok()) return config.status();
  if (config->model.name.empty()) config->model.name = fs::canonical(dir).filename();
  absl::StatusOr<HfTensors> tensors = OpenHfTensors(dir);
  if (!tensors.ok()) return tensors.status();
  absl::StatusOr<LlamaWeights> weights =
      BindLlamaWeights(config->model, kHfTensorNames, tensors->tensors);
  absl::Status status = weights.status();
  if (status.ok()) status = CheckBiases(*config, *weights);
  if (!status.ok()) return Annotate(dir, status);
  absl::StatusOr<Vocabulary> vocabulary = ReadHfVocabulary(dir);
  if (!vocabulary.ok()) return vocabulary.status();
  status = PadVocabulary(config->model, *vocabulary);
  if (!status.ok()) return Annotate(dir, status);
  int64_t bytes = 0;
  for (const auto& file : tensors->files) bytes += file->file_bytes();
  return std::make_unique<CheckpointOf<HfTensors>>(*std::move(tensors), bytes,
                                                   std::move(config->model), *std::move(weights),
                                                   *std::move(vocabulary));
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenFolder(const std::string& dir) {
  std::error_code error;
  if (fs::exists(dir + "/config.json", error)) return OpenHfFolder(dir);
  std::vector<std::string> ggufs;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".gguf") ggufs.push_back(it->path());
  }
  if (error) return absl::InvalidArgumentError(absl::StrCat(dir, ": ", error.message()));
  if (ggufs.size() == 1) return OpenGguf(ggufs.front());
  return absl::InvalidArgumentError(absl::StrCat(
      dir,
      ": not a model: expected a config.json or exactly one .gguf file, found no config.json and ",
      ggufs.size(), " .gguf files"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenCheckpoint(const std::string& path) {
  std::error_code error;
  const fs::file_status info = fs::status(path, error);
  if (!fs::exists(info)) return absl::NotFoundError(absl::StrCat(path, ": no such file or folder"));
  if (fs::is_directory(info)) return OpenFolder(path);
  if (fs::path(path).extension() != ".safetensors") return OpenGguf(path);
  const fs::path folder = fs::path(path).parent_path();
  return OpenFolder(folder.empty() ? "." : folder.string());
}

}  // namespace sieve
