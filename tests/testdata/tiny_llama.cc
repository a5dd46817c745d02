#include "tests/testdata/tiny_llama.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/checkpoint/ggml_types.h"
#include "model/checkpoint/llama_weights.h"
#include "tests/testdata/files.h"
#include "tests/testdata/gguf_writer.h"
#include "tests/testdata/tiny_weights.h"

namespace sieve {
namespace {

using nlohmann::json;

struct Tensor {
  std::string hf_name;  // names the random stream too
  std::string gguf_name;
  TensorRole role = TensorRole::kMatrix;
  int64_t rows = 1;
  int64_t cols = 0;
  int64_t rotated_heads = 0;  // above 0: GGUF interleaves the halves of each head's rows
};

void AddModule(const std::string& hf, const std::string& gguf, int64_t rows, int64_t cols,
               bool bias, int64_t rotated_heads, std::vector<Tensor>& tensors) {
  tensors.push_back(
      {hf + ".weight", gguf + ".weight", TensorRole::kMatrix, rows, cols, rotated_heads});
  if (!bias) return;
  tensors.push_back({hf + ".bias", gguf + ".bias", TensorRole::kBias, 1, rows, rotated_heads});
}

std::vector<Tensor> TensorsOf(const TinyLlamaSpec& spec) {
  const LlamaTensorNames& hf = kHfTensorNames;
  const LlamaTensorNames& gguf = kGgufTensorNames;
  const int64_t hidden = spec.hidden_size, inner = spec.intermediate_size;
  const int64_t q_rows = spec.num_heads * spec.head_dim;
  const int64_t kv_rows = spec.num_kv_heads * spec.head_dim;
  std::vector<Tensor> tensors;
  const auto norm = [&](const std::string& hf_name, const std::string& gguf_name) {
    tensors.push_back({hf_name + ".weight", gguf_name + ".weight", TensorRole::kNorm, 1, hidden});
  };
  AddModule(hf.embedding, gguf.embedding, spec.vocabulary_size, hidden, false, 0, tensors);
  for (int64_t i = 0; i < spec.num_layers; ++i) {
    const std::string h = absl::StrCat(hf.layer_prefix, i, ".");
    const std::string g = absl::StrCat(gguf.layer_prefix, i, ".");
    const bool bias = spec.attention_bias;
    norm(h + hf.attention_norm, g + gguf.attention_norm);
    AddModule(h + hf.q, g + gguf.q, q_rows, hidden, bias, spec.num_heads, tensors);
    AddModule(h + hf.k, g + gguf.k, kv_rows, hidden, bias, spec.num_kv_heads, tensors);
    AddModule(h + hf.v, g + gguf.v, kv_rows, hidden, bias, 0, tensors);
    AddModule(h + hf.o, g + gguf.o, hidden, q_rows, bias, 0, tensors);
    norm(h + hf.mlp_norm, g + gguf.mlp_norm);
    AddModule(h + hf.gate, g + gguf.gate, inner, hidden, spec.mlp_bias, 0, tensors);
    AddModule(h + hf.up, g + gguf.up, inner, hidden, spec.mlp_bias, 0, tensors);
    AddModule(h + hf.down, g + gguf.down, hidden, inner, spec.mlp_bias, 0, tensors);
  }
  norm(hf.final_norm, gguf.final_norm);
  if (!spec.tied) AddModule(hf.head, gguf.head, spec.vocabulary_size, hidden, false, 0, tensors);
  return tensors;
}

ModelConfig ConfigOf(const TinyLlamaSpec& spec) {
  ModelConfig config;
  config.architecture = "llama";
  config.hidden_size = spec.hidden_size;
  config.intermediate_size = spec.intermediate_size;
  config.num_layers = spec.num_layers;
  config.num_heads = spec.num_heads;
  config.num_kv_heads = spec.num_kv_heads;
  config.head_dim = spec.head_dim;
  config.vocabulary_size = spec.vocabulary_size;
  config.context_length = spec.context_length;
  config.rope_theta = spec.rope_theta;
  config.rope_scaling = spec.rope_scaling;
  config.tied_embeddings = spec.tied;
  return config;
}

absl::Status CheckSpec(const TinyLlamaSpec& spec) {
  if (spec.vocabulary_size < kTinyTokens || spec.num_shards < 1) {
    return absl::InvalidArgumentError("tiny llama: vocabulary or number of shards too small");
  }
  return ValidateConfig(ConfigOf(spec));
}

json RopeScalingJson(const RopeScaling& scaling) {
  switch (scaling.kind) {
    case RopeScaling::Kind::kNone:
      return nullptr;
    case RopeScaling::Kind::kLinear:
      return {{"rope_type", "linear"}, {"factor", scaling.factor}};
    case RopeScaling::Kind::kLlama3:
      return {{"rope_type", "llama3"},
              {"factor", scaling.factor},
              {"low_freq_factor", scaling.low_freq_factor},
              {"high_freq_factor", scaling.high_freq_factor},
              {"original_max_position_embeddings", scaling.original_context_length}};
  }
  return nullptr;
}

std::string ConfigJson(const TinyLlamaSpec& spec) {
  return json{{"architectures", {"LlamaForCausalLM"}},
              {"model_type", "llama"},
              {"hidden_act", "silu"},
              {"hidden_size", spec.hidden_size},
              {"intermediate_size", spec.intermediate_size},
              {"num_hidden_layers", spec.num_layers},
              {"num_attention_heads", spec.num_heads},
              {"num_key_value_heads", spec.num_kv_heads},
              {"head_dim", spec.head_dim},
              {"vocab_size", spec.vocabulary_size},
              {"max_position_embeddings", spec.context_length},
              {"rms_norm_eps", 1e-5},
              {"rope_theta", spec.rope_theta},
              {"rope_scaling", RopeScalingJson(spec.rope_scaling)},
              {"tie_word_embeddings", spec.tied},
              {"attention_bias", spec.attention_bias},
              {"mlp_bias", spec.mlp_bias},
              {"bos_token_id", kTinyEndOfText},
              {"eos_token_id", kTinyImEnd}}
      .dump(1);
}

const char* SafetensorsTypeName(DType dtype) {
  return dtype == DType::kF32 ? "F32" : dtype == DType::kF16 ? "F16" : "BF16";
}

absl::Status WriteShard(const std::string& path, const TinyLlamaSpec& spec,
                        const std::vector<Tensor>& tensors) {
  json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const Tensor& tensor : tensors) {
    const size_t begin = data.size();
    data += EncodeFloats(
        spec.dtype, RandomTensor(spec.seed, tensor.hf_name, tensor.role, tensor.rows, tensor.cols));
    const json shape = tensor.role == TensorRole::kMatrix ? json{tensor.rows, tensor.cols}
                                                          : json::array({tensor.cols});
    header[tensor.hf_name] = {{"dtype", SafetensorsTypeName(spec.dtype)},
                              {"shape", shape},
                              {"data_offsets", {begin, data.size()}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // aligns the data
  return WriteFile(path, SafetensorsBytes(text, data));
}

absl::Status WriteShards(const std::string& dir, const TinyLlamaSpec& spec) {
  const std::vector<Tensor> tensors = TensorsOf(spec);
  if (spec.num_shards == 1) return WriteShard(dir + "/model.safetensors", spec, tensors);
  json weight_map;
  for (int shard = 0; shard < spec.num_shards; ++shard) {
    const std::string name =
        absl::StrFormat("model-%05d-of-%05d.safetensors", shard + 1, spec.num_shards);
    std::vector<Tensor> part;
    for (size_t i = shard; i < tensors.size(); i += spec.num_shards) {
      part.push_back(tensors[i]);
      weight_map[tensors[i].hf_name] = name;
    }
    if (absl::Status status = WriteShard(dir + "/" + name, spec, part); !status.ok()) return status;
  }
  return WriteFile(dir + "/model.safetensors.index.json",
                   json{{"metadata", json::object()}, {"weight_map", weight_map}}.dump(1));
}

// Hugging Face rotates rows i and i + head_dim/2 of a head together, GGUF rows 2i and 2i + 1.
std::vector<float> InterleaveHalves(const std::vector<float>& rows, int64_t heads, int64_t cols) {
  const int64_t half = static_cast<int64_t>(rows.size()) / (heads * cols) / 2;
  std::vector<float> result(rows.size());
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t i = 0; i < 2 * half; ++i) {
      const int64_t source = h * 2 * half + (i % 2) * half + i / 2;
      std::copy_n(rows.begin() + source * cols, cols, result.begin() + (h * 2 * half + i) * cols);
    }
  }
  return result;
}

void AddGgufTensor(const TinyLlamaSpec& spec, const Tensor& tensor, GgufWriter& writer) {
  const bool matrix = tensor.role == TensorRole::kMatrix;
  const DType dtype = matrix ? spec.dtype : DType::kF32;
  std::string data;
  if (InfoOf(dtype).elements > 1) {
    data = RandomBlocks(spec.seed, tensor.hf_name, dtype, tensor.rows, tensor.cols);
  } else {
    std::vector<float> values =
        RandomTensor(spec.seed, tensor.hf_name, tensor.role, tensor.rows, tensor.cols);
    if (tensor.rotated_heads > 0) {
      values = InterleaveHalves(values, tensor.rotated_heads, matrix ? tensor.cols : 1);
    }
    data = EncodeFloats(dtype, values);
  }
  std::vector<uint64_t> dims = {static_cast<uint64_t>(tensor.cols)};
  if (matrix) dims.push_back(static_cast<uint64_t>(tensor.rows));
  writer.AddTensor(tensor.gguf_name, dims, GgmlTypeOf(dtype), data);
}

void AddModelMetadata(const TinyLlamaSpec& spec, GgufWriter& writer) {
  writer.AddString("general.architecture", "llama");
  writer.AddString("general.name", "tiny");
  writer.AddUint32("llama.block_count", spec.num_layers);
  writer.AddUint32("llama.context_length", spec.context_length);
  writer.AddUint32("llama.embedding_length", spec.hidden_size);
  writer.AddUint32("llama.feed_forward_length", spec.intermediate_size);
  writer.AddUint32("llama.attention.head_count", spec.num_heads);
  writer.AddUint32("llama.attention.head_count_kv", spec.num_kv_heads);
  writer.AddUint32("llama.attention.key_length", spec.head_dim);
  writer.AddUint32("llama.attention.value_length", spec.head_dim);
  writer.AddUint32("llama.rope.dimension_count", spec.head_dim);
  writer.AddFloat("llama.rope.freq_base", spec.rope_theta);
  writer.AddFloat("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  if (spec.rope_scaling.kind == RopeScaling::Kind::kLinear) {
    writer.AddString("llama.rope.scaling.type", "linear");
    writer.AddFloat("llama.rope.scaling.factor", spec.rope_scaling.factor);
  }
}

void AddVocabularyMetadata(GgufWriter& writer) {
  constexpr int32_t kNormal = 1, kControl = 3;
  std::vector<int32_t> types(kTinyTokens, kNormal);
  for (int64_t id = kTinyEndOfText; id < kTinyTokens; ++id) types[id] = kControl;
  writer.AddString("tokenizer.ggml.model", "gpt2");
  writer.AddString("tokenizer.ggml.pre", "gpt-2");
  writer.AddStrings("tokenizer.ggml.tokens", TinyTokens());
  writer.AddInts("tokenizer.ggml.token_type", types);
  writer.AddStrings("tokenizer.ggml.merges", {});
  writer.AddUint32("tokenizer.ggml.bos_token_id", kTinyEndOfText);
  writer.AddUint32("tokenizer.ggml.eos_token_id", kTinyImEnd);
  writer.AddBool("tokenizer.ggml.add_bos_token", false);
  writer.AddString("tokenizer.chat_template", TinyChatTemplate());
}

// GGUF's form of `llama3` scaling: what each frequency is divided by.
void AddRopeDivisors(const TinyLlamaSpec& spec, GgufWriter& writer) {
  if (spec.rope_scaling.kind != RopeScaling::Kind::kLlama3) return;
  ModelConfig config = ConfigOf(spec);
  const std::vector<double> scaled = RopeFrequencies(config);
  config.rope_scaling = {};
  const std::vector<double> plain = RopeFrequencies(config);
  std::vector<float> divisors;
  for (size_t i = 0; i < plain.size(); ++i) divisors.push_back(plain[i] / scaled[i]);
  writer.AddTensor("rope_freqs.weight", {divisors.size()}, GgmlTypeOf(DType::kF32),
                   EncodeFloats(DType::kF32, divisors));
}

}  // namespace

absl::Status WriteTinyHfFolder(const std::string& dir, const TinyLlamaSpec& spec) {
  absl::Status status = CheckSpec(spec);
  if (!status.ok()) return status;
  if (InfoOf(spec.dtype).elements != 1) {
    return absl::InvalidArgumentError("tiny llama: a folder takes no quantised type");
  }
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error) return absl::InternalError(absl::StrCat(dir, ": ", error.message()));
  status.Update(WriteFile(dir + "/config.json", ConfigJson(spec)));
  status.Update(
      WriteFile(dir + "/generation_config.json",
                json{{"bos_token_id", kTinyEndOfText}, {"eos_token_id", kTinyImEnd}}.dump()));
  status.Update(WriteFile(dir + "/tokenizer.json", TinyTokenizerJson()));
  status.Update(WriteFile(dir + "/tokenizer_config.json", TinyTokenizerConfigJson()));
  status.Update(WriteShards(dir, spec));
  return status;
}

absl::Status WriteTinyGguf(const std::string& path, const TinyLlamaSpec& spec) {
  if (absl::Status status = CheckSpec(spec); !status.ok()) return status;
  const std::vector<Tensor> tensors = TensorsOf(spec);
  for (const Tensor& tensor : tensors) {
    if (tensor.role == TensorRole::kMatrix && tensor.cols % InfoOf(spec.dtype).elements != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("tiny llama: ", tensor.cols, " columns of ", tensor.hf_name,
                       " do not divide into blocks of ", InfoOf(spec.dtype).name));
    }
  }
  GgufWriter writer;
  AddModelMetadata(spec, writer);
  AddVocabularyMetadata(writer);
  AddRopeDivisors(spec, writer);
  for (const Tensor& tensor : tensors) AddGgufTensor(spec, tensor, writer);
  return WriteFile(path, writer.Finish());
}

}  // namespace sieve
