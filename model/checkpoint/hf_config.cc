#include "model/checkpoint/hf_config.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/json.h"
#include "model/checkpoint/quoted.h"

namespace sieve {
namespace {

using nlohmann::json;

template <typename... Parts>
absl::Status Error(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

// Fails unless the field is absent or has the one supported value.
absl::Status ExpectText(const json& object, const char* key, const char* expected) {
  std::string value = expected;
  if (absl::Status status = GetField(object, key, value); !status.ok()) return status;
  if (value == expected) return absl::OkStatus();
  return Error("\"", key, "\" is ", Quoted(value), "; only \"", expected, "\" is supported");
}

absl::Status CheckArchitecture(const json& object) {
  const auto type = object.find("model_type");
  const auto architectures = object.find("architectures");
  const bool has_architectures = architectures != object.end() && architectures->is_array();
  if ((type == object.end() || type->is_null()) && !has_architectures) {
    return Error(
        "neither \"model_type\" nor \"architectures\" is given: not a model's config.json");
  }
  if (absl::Status status = ExpectText(object, "model_type", "llama"); !status.ok()) return status;
  if (!has_architectures) return absl::OkStatus();
  for (const json& name : *architectures) {
    if (name.is_string() && name.get_ref<const std::string&>() == "LlamaForCausalLM") {
      return absl::OkStatus();
    }
  }
  const std::string first = !architectures->empty() && architectures->front().is_string()
                                ? architectures->front().get<std::string>()
                                : "";
  return Error("architecture ", Quoted(first), " is not supported; LlamaForCausalLM is");
}

// What changes the computation and is not implemented must not be passed over.
absl::Status CheckOptions(const json& object) {
  if (absl::Status status = ExpectText(object, "hidden_act", "silu"); !status.ok()) return status;
  const auto quantization = object.find("quantization_config");
  if (quantization != object.end() && !quantization->is_null()) {
    std::string method = "unknown";
    if (quantization->is_object()) {
      if (absl::Status status = GetField(*quantization, "quant_method", method); !status.ok()) {
        return status;
      }
    }
    return Error("\"quantization_config\": weights quantised by ", Quoted(method),
                 " are not supported");
  }
  double rotary_factor = 1;
  absl::Status status = GetField(object, "partial_rotary_factor", rotary_factor);
  if (status.ok() && rotary_factor != 1) {
    return Error("\"partial_rotary_factor\" ", rotary_factor, " is not supported");
  }
  return status;
}

absl::Status ReadShape(const json& object, ModelConfig& model) {
  model.context_length = 2048;  // transformers' default
  model.rms_norm_epsilon = 1e-6;
  absl::Status status = GetField(object, "hidden_size", model.hidden_size);
  status.Update(GetField(object, "intermediate_size", model.intermediate_size));
  status.Update(GetField(object, "num_hidden_layers", model.num_layers));
  status.Update(GetField(object, "num_attention_heads", model.num_heads));
  model.num_kv_heads = model.num_heads;
  status.Update(GetField(object, "num_key_value_heads", model.num_kv_heads));
  if (model.num_heads > 0) model.head_dim = model.hidden_size / model.num_heads;
  status.Update(GetField(object, "head_dim", model.head_dim));
  status.Update(GetField(object, "vocab_size", model.vocabulary_size));
  status.Update(GetField(object, "max_position_embeddings", model.context_length));
  status.Update(GetField(object, "rms_norm_eps", model.rms_norm_epsilon));
  status.Update(GetField(object, "rope_theta", model.rope_theta));
  status.Update(GetField(object, "tie_word_embeddings", model.tied_embeddings));
  status.Update(GetField(object, "_name_or_path", model.name));
  return status;
}

// The object under `key`: "rope_scaling", or "rope_parameters" as transformers 5 writes it, which
// holds rope_theta too.
absl::Status ReadRope(const json& object, const char* key, ModelConfig& model) {
  const auto rope = object.find(key);
  if (rope == object.end() || rope->is_null()) return absl::OkStatus();
  if (!rope->is_object()) return Error("\"", key, "\" is not an object");
  RopeScaling& scaling = model.rope_scaling;
  std::string type = "default";
  absl::Status status = GetField(*rope, "type", type);
  status.Update(GetField(*rope, "rope_type", type));
  status.Update(GetField(*rope, "rope_theta", model.rope_theta));
  if (type == "default" || !status.ok()) return status;
  if (type == "linear") {
    scaling.kind = RopeScaling::Kind::kLinear;
  } else if (type == "llama3") {
    scaling.kind = RopeScaling::Kind::kLlama3;
  } else {
    return Error("\"", key, "\": rope type ", Quoted(type),
                 " is not supported (default, linear and llama3 are)");
  }
  scaling.factor = scaling.low_freq_factor = scaling.high_freq_factor = 0;  // all are to be given
  status.Update(GetField(*rope, "factor", scaling.factor));
  status.Update(GetField(*rope, "low_freq_factor", scaling.low_freq_factor));
  status.Update(GetField(*rope, "high_freq_factor", scaling.high_freq_factor));
  status.Update(
      GetField(*rope, "original_max_position_embeddings", scaling.original_context_length));
  return status;
}

absl::StatusOr<HfConfig> FromJson(const json& object) {
  HfConfig config;
  config.model.architecture = "llama";
  absl::Status status = CheckArchitecture(object);
  status.Update(CheckOptions(object));
  status.Update(ReadShape(object, config.model));
  status.Update(ReadRope(object, "rope_scaling", config.model));
  status.Update(ReadRope(object, "rope_parameters", config.model));
  status.Update(GetField(object, "attention_bias", config.attention_bias));
  status.Update(GetField(object, "mlp_bias", config.mlp_bias));
  status.Update(ValidateConfig(config.model));
  if (!status.ok()) return status;
  return config;
}

}  // namespace

absl::StatusOr<HfConfig> ReadHfConfig(const std::string& path) {
  absl::StatusOr<json> object = ReadJsonObject(path);
  if (!object.ok()) return object.status();
  absl::StatusOr<HfConfig> config = FromJson(*object);
  if (!config.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", config.status().message()));
  }
  return config;
}

}  // namespace sieve
