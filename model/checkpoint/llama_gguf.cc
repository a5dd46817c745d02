#include "model/checkpoint/llama_gguf.h"

#include <string>
#include <string_view>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/quoted.h"

namespace sieve {
namespace {

template <typename T>
constexpr const char* kTypeName = "a number";
template <>
constexpr const char* kTypeName<int64_t> = "an integer";
template <>
constexpr const char* kTypeName<std::string_view> = "a string";

// Reads metadata; the first error stays.
class Metadata {
 public:
  explicit Metadata(const std::map<std::string, GgufValue, std::less<>>& values)
      : values_(values) {}

  const absl::Status& status() const { return status_; }
  bool Has(const char* key) const { return values_.find(key) != values_.end(); }

  template <typename T>
  T Required(const char* key) {
    if (!Has(key)) Fail(key, "missing");
    return Optional(key, T());
  }

  template <typename T>
  T Optional(const char* key, T fallback) {
    const auto it = values_.find(key);
    if (it == values_.end()) return fallback;
    if (const T* value = std::get_if<T>(&it->second)) return *value;
    if constexpr (std::is_same_v<T, double>) {
      if (const int64_t* value = std::get_if<int64_t>(&it->second)) return *value;
    }
    Fail(key, absl::StrCat("not ", kTypeName<T>));
    return fallback;
  }

  void Fail(const char* key, const std::string& reason) {
    status_.Update(
        absl::InvalidArgumentError(absl::StrCat("metadata key \"", key, "\": ", reason)));
  }

 private:
  const std::map<std::string, GgufValue, std::less<>>& values_;
  absl::Status status_;
};

void ReadHeads(Metadata& metadata, ModelConfig& config) {
  config.num_heads = metadata.Required<int64_t>("llama.attention.head_count");
  config.num_kv_heads =
      metadata.Optional<int64_t>("llama.attention.head_count_kv", config.num_heads);
  if (config.num_heads > 0) config.head_dim = config.hidden_size / config.num_heads;
  config.head_dim = metadata.Optional("llama.attention.key_length", config.head_dim);
  for (const char* key : {"llama.attention.value_length", "llama.rope.dimension_count"}) {
    const int64_t value = metadata.Optional(key, config.head_dim);
    if (value != config.head_dim) {
      metadata.Fail(
          key, absl::StrCat(value, " is not supported with heads of dimension ", config.head_dim));
    }
  }
}

void ReadRope(Metadata& metadata, ModelConfig& config) {
  config.rope_interleaved = true;
  config.rope_theta = metadata.Optional("llama.rope.freq_base", config.rope_theta);
  constexpr const char* kType = "llama.rope.scaling.type";
  // Older files give the factor of linear scaling alone.
  constexpr const char* kOldFactor = "llama.rope.scale_linear";
  const std::string_view type =
      metadata.Optional<std::string_view>(kType, metadata.Has(kOldFactor) ? "linear" : "none");
  if (type == "none") return;
  if (type != "linear") {
    metadata.Fail(kType, absl::StrCat(Quoted(type), " is not supported (none and linear are)"));
    return;
  }
  config.rope_scaling.kind = RopeScaling::Kind::kLinear;
  config.rope_scaling.factor = metadata.Has(kOldFactor)
                                   ? metadata.Required<double>(kOldFactor)
                                   : metadata.Required<double>("llama.rope.scaling.factor");
}

// `llama3` scaling comes as a tensor of divisors.
absl::Status ReadRopeDivisors(const GgufFile& file, ModelConfig& config) {
  constexpr const char* kName = "rope_freqs.weight";
  const auto it = file.tensors().find(kName);
  if (it == file.tensors().end()) return absl::OkStatus();
  const TensorView& view = it->second;
  if (view.dtype != DType::kF32 || view.rows != 1 || view.cols != config.head_dim / 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor \"", kName, "\": expected f32 [1, ", config.head_dim / 2, "], found ",
                     InfoOf(view.dtype).name, " [", view.rows, ", ", view.cols, "]"));
  }
  const float* divisors = static_cast<const float*>(view.data);
  config.rope_frequency_divisors.assign(divisors, divisors + view.cols);
  return absl::OkStatus();
}

absl::StatusOr<ModelConfig> ReadConfig(const GgufFile& file) {
  Metadata metadata(file.metadata());
  const std::string_view architecture = metadata.Required<std::string_view>("general.architecture");
  if (metadata.status().ok() && architecture != "llama") {
    metadata.Fail("general.architecture",
                  absl::StrCat(Quoted(architecture), " is not supported; \"llama\" is"));
  }
  if (!metadata.status().ok()) return metadata.status();

  ModelConfig config;
  config.architecture = "llama";
  config.name = std::string(metadata.Optional<std::string_view>("general.name", ""));
  config.hidden_size = metadata.Required<int64_t>("llama.embedding_length");
  config.intermediate_size = metadata.Required<int64_t>("llama.feed_forward_length");
  config.num_layers = metadata.Required<int64_t>("llama.block_count");
  config.context_length = metadata.Required<int64_t>("llama.context_length");
  config.rms_norm_epsilon = metadata.Required<double>("llama.attention.layer_norm_rms_epsilon");
  ReadHeads(metadata, config);
  ReadRope(metadata, config);
  if (metadata.Optional<int64_t>("split.count", 1) > 1) {
    metadata.Fail("split.count", "models split over several files are not supported: merge them");
  }
  if (metadata.Optional<int64_t>("llama.expert_count", 0) != 0) {
    metadata.Fail("llama.expert_count", "mixtures of experts are not supported");
  }
  if (!metadata.status().ok()) return metadata.status();

  const auto embedding = file.tensors().find("token_embd.weight");
  if (embedding == file.tensors().end()) {
    return absl::InvalidArgumentError("tensor \"token_embd.weight\": missing");
  }
  config.vocabulary_size = embedding->second.rows;
  config.tied_embeddings = !file.tensors().contains("output.weight");
  if (absl::Status status = ReadRopeDivisors(file, config); !status.ok()) return status;
  if (absl::Status status = ValidateConfig(config); !status.ok()) return status;
  return config;
}

}  // namespace

absl::StatusOr<ModelConfig> ReadGgufConfig(const GgufFile& file) {
  absl::StatusOr<ModelConfig> config = ReadConfig(file);
  if (!config.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": ", config.status().message()));
  }
  return config;
}

}  // namespace sieve
