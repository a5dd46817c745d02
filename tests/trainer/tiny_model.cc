#include "tests/trainer/tiny_model.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>

#include "tests/kernels/random_data.h"

namespace sieve {

std::unique_ptr<Checkpoint> OpenTinyModel(const TinyLlamaSpec& spec, bool gguf) {
  const std::string path = testing::TempDir() + (gguf ? "/model.gguf" : "/model");
  const absl::Status written = gguf ? WriteTinyGguf(path, spec) : WriteTinyHfFolder(path, spec);
  EXPECT_TRUE(written.ok()) << written;
  auto checkpoint = OpenCheckpoint(path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return *std::move(checkpoint);
}

AdapterConfig TinyAdapterConfig(const ModelConfig& model) {
  AdapterConfig config;
  config.base_model = model.name;
  config.base_digest = std::string(64, '0');
  config.num_layers = model.num_layers;
  config.hidden_size = model.hidden_size;
  config.num_heads = model.num_heads;
  config.num_kv_heads = model.num_kv_heads;
  config.head_dim = model.head_dim;
  config.window_blocks = 1;
  config.selected_blocks = 2;
  config.index_rank = 4;
  return config;
}

Adapter SeededAdapter(const AdapterConfig& config, uint64_t seed) {
  std::mt19937_64 random(seed);
  Adapter adapter;
  adapter.config = config;
  adapter.layers.resize(config.num_layers);
  for (AdapterLayer& layer : adapter.layers) {
    for (const AdapterTensor& tensor : AdapterTensors(config)) {
      int64_t count = 1;
      for (int64_t size : tensor.shape) count *= size;
      // Products over an axis stay of the size of one.
      const float scale = tensor.shape.size() < 3 ? 0.5f : 0.1f;
      layer.*tensor.values = RandomFloats(random, count, scale);
    }
  }
  return adapter;
}

std::string SeededLetters(int64_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string text(count, ' ');
  for (char& c : text) c = static_cast<char>('a' + random() % 26);
  return text;
}

}  // namespace sieve
