#include "tests/model/attention/random_adapter.h"

#include <cmath>
#include <utility>

#include "tests/kernels/random_data.h"

namespace sieve {

AdapterConfig WithShapeOf(const ModelConfig& model, AdapterConfig config) {
  config.num_layers = model.num_layers;
  config.hidden_size = model.hidden_size;
  config.num_heads = model.num_heads;
  config.num_kv_heads = model.num_kv_heads;
  config.head_dim = model.head_dim;
  return config;
}

AdapterConfig AdapterConfigFor(const ModelConfig& model, const std::string& base_digest) {
  AdapterConfig config;
  config.base_model = model.name;
  config.base_digest = base_digest.empty() ? std::string(64, '0') : base_digest;
  return WithShapeOf(model, std::move(config));
}

std::shared_ptr<const Adapter> RandomAdapter(std::mt19937_64& random, const AdapterConfig& config) {
  auto adapter = std::make_shared<Adapter>();
  adapter->config = config;
  adapter->layers.resize(config.num_layers);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    if (config.is_dense(layer)) continue;
    for (const AdapterTensor& tensor : AdapterTensors(config)) {
      int64_t size = 1;
      for (const int64_t n : tensor.shape) size *= n;
      // Matrices keep the size of what they multiply.
      const bool matrix = tensor.shape.size() > 2;
      const float scale = matrix ? 1 / std::sqrt(static_cast<float>(tensor.shape.back())) : 1;
      adapter->layers[layer].*tensor.values = RandomFloats(random, size, scale);
    }
  }
  return adapter;
}

Adapter RandomAdapter(const AdapterConfig& config, uint64_t seed) {
  std::mt19937_64 random(seed);
  return *RandomAdapter(random, config);
}

}  // namespace sieve
