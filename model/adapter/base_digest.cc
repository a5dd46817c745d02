#include "model/adapter/base_digest.h"

#include <bit>
#include <cstdint>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "kernels/tensor_view.h"
#include "model/checkpoint/sha256_stream.h"

namespace sieve {
namespace {

constexpr int64_t kPlaces = 16;
constexpr int64_t kPlaceBytes = 4096;

void AddReal(double value, Sha256Stream* stream) {
  stream->AddNumber(std::bit_cast<uint64_t>(value));
}

void AddConfig(const ModelConfig& config, Sha256Stream* stream) {
  stream->AddText(config.architecture);
  for (const int64_t number :
       {config.hidden_size, config.intermediate_size, config.num_layers, config.num_heads,
        config.num_kv_heads, config.head_dim, config.vocabulary_size,
        static_cast<int64_t>(config.rope_interleaved), static_cast<int64_t>(config.tied_embeddings),
        static_cast<int64_t>(config.rope_scaling.kind),
        config.rope_scaling.original_context_length}) {
    stream->AddNumber(static_cast<uint64_t>(number));
  }
  for (const double value :
       {config.rms_norm_epsilon, config.rope_theta, config.rope_scaling.factor,
        config.rope_scaling.low_freq_factor, config.rope_scaling.high_freq_factor}) {
    AddReal(value, stream);
  }
  stream->AddNumber(config.rope_frequency_divisors.size());
  for (const float divisor : config.rope_frequency_divisors) AddReal(divisor, stream);
}

void AddBytes(std::string_view bytes, Sha256Stream* stream) {
  const int64_t size = static_cast<int64_t>(bytes.size());
  if (size <= kPlaces * kPlaceBytes) {
    stream->Add(bytes);
    return;
  }
  for (int64_t i = 0; i < kPlaces; ++i) {
    stream->Add(bytes.substr((size - kPlaceBytes) * i / (kPlaces - 1), kPlaceBytes));
  }
}

// Absent ones (biases) add nothing.
void AddTensor(std::string_view name, const TensorView& tensor, Sha256Stream* stream) {
  if (!tensor) return;
  stream->AddText(name);
  stream->AddText(InfoOf(tensor.dtype).name);
  stream->AddNumber(static_cast<uint64_t>(tensor.rows));
  stream->AddNumber(static_cast<uint64_t>(tensor.cols));
  AddBytes({static_cast<const char*>(tensor.data), static_cast<size_t>(tensor.bytes())}, stream);
}

void AddLayer(const std::string& prefix, const LayerWeights& layer, Sha256Stream* stream) {
  AddTensor(prefix + "attention_norm", layer.attention_norm, stream);
  AddTensor(prefix + "q", layer.q, stream);
  AddTensor(prefix + "k", layer.k, stream);
  AddTensor(prefix + "v", layer.v, stream);
  AddTensor(prefix + "o", layer.o, stream);
  AddTensor(prefix + "q_bias", layer.q_bias, stream);
  AddTensor(prefix + "k_bias", layer.k_bias, stream);
  AddTensor(prefix + "v_bias", layer.v_bias, stream);
  AddTensor(prefix + "o_bias", layer.o_bias, stream);
  AddTensor(prefix + "mlp_norm", layer.mlp_norm, stream);
  AddTensor(prefix + "gate", layer.gate, stream);
  AddTensor(prefix + "up", layer.up, stream);
  AddTensor(prefix + "down", layer.down, stream);
  AddTensor(prefix + "gate_bias", layer.gate_bias, stream);
  AddTensor(prefix + "up_bias", layer.up_bias, stream);
  AddTensor(prefix + "down_bias", layer.down_bias, stream);
}

}  // namespace

std::string BaseDigest(const ModelConfig& config, const LlamaWeights& weights) {
  Sha256Stream stream;
  AddConfig(config, &stream);
  AddTensor("embedding", weights.embedding, &stream);
  AddTensor("final_norm", weights.final_norm, &stream);
  // Where the head is tied it has been added.
  if (!config.tied_embeddings) AddTensor("head", weights.head, &stream);
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    AddLayer(absl::StrCat(i, "."), weights.layers[i], &stream);
  }
  return stream.HexDigest();
}

}  // namespace sieve
