#include "tests/testdata/random_adapter.h"

#include <random>
#include <string>

namespace sieve {

AdapterConfig AdapterConfigFor(const ModelConfig& model, const std::string& base_digest) {
  AdapterConfig config;
  config.base_model = model.name;
  config.base_digest = base_digest.empty() ? std::string(64, '0') : base_digest;
  config.num_layers = model.num_layers;
  config.hidden_size = model.hidden_size;
  config.num_heads = model.num_heads;
  config.num_kv_heads = model.num_kv_heads;
  config.head_dim = model.head_dim;
  return config;
}

Adapter RandomAdapter(const AdapterConfig& config, uint64_t seed) {
  Adapter adapter;
  adapter.config = config;
  adapter.layers.resize(config.num_layers);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    if (config.is_dense(layer)) continue;
    for (const AdapterTensor& tensor : AdapterTensors(config)) {
      const std::string name = std::to_string(layer) + "." + tensor.name;
      std::seed_seq words(name.begin(), name.end());
      std::vector<uint32_t> word(1);
      words.generate(word.begin(), word.end());
      std::mt19937_64 random(seed * 0x9e3779b97f4a7c15ULL + word[0]);
      int64_t size = 1;
      for (const int64_t dim : tensor.shape) size *= dim;
      std::vector<float>& values = adapter.layers[layer].*tensor.values;
      for (int64_t i = 0; i < size; ++i) {
        values.push_back(0.2f * (static_cast<float>(random() >> 40) * 0x1p-24f - 0.5f));
      }
    }
  }
  return adapter;
}

}  // namespace sieve
