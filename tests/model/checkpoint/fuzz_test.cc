// Damaged checkpoints must be refused or read, never crash; sanitizers see reads outside the file.

#include <gtest/gtest.h>

#include <filesystem>
#include <iostream>
#include <random>

#include "model/checkpoint/checkpoint.h"
#include "tests/model/checkpoint/test_files.h"
#include "tests/testdata/files.h"
#include "tests/testdata/tiny_llama.h"

namespace sieve {
namespace {

TinyLlamaSpec SmallSpec() {
  TinyLlamaSpec spec;
  spec.hidden_size = spec.intermediate_size = 32;
  spec.num_layers = 1;
  spec.num_heads = spec.num_kv_heads = 1;
  spec.head_dim = 32;
  return spec;
}

// Bytes that lengths, counts and types turn dangerous with.
constexpr unsigned char kTelling[] = {0x00, 0x01, 0x7f, 0x80, 0xff, '"', '{', '[', '9', '-'};

// Changes, inserts, drops or repeats a few bytes of the first `span`.
std::string Damaged(std::string bytes, size_t span, std::mt19937_64& random) {
  const auto below = [&](size_t n) {
    return std::uniform_int_distribution<size_t>(0, n - 1)(random);
  };
  for (size_t edits = 1 + below(3); edits > 0; --edits) {
    const size_t at = below(std::min(span, bytes.size()));
    switch (below(5)) {
      case 0:
        bytes[at] ^= static_cast<char>(1 << below(8));
        break;
      case 1:
        bytes[at] = static_cast<char>(kTelling[below(std::size(kTelling))]);
        break;
      case 2:
        for (size_t i = at; i < std::min(at + 8, bytes.size()); ++i) bytes[i] = '\xff';
        break;
      case 3:
        bytes.erase(at, 1 + below(16));
        break;
      case 4:
        bytes.insert(at, bytes.substr(at, 1 + below(16)));
        break;
    }
  }
  return bytes;
}

// Reads every byte that the weights view, so that a view outside the file is found out.
uint64_t SumOfBytes(const LlamaWeights& weights) {
  uint64_t sum = 0;
  const auto add = [&](const TensorView& view) {
    const auto* bytes = static_cast<const unsigned char*>(view.data);
    for (int64_t i = 0; view && i < view.bytes(); ++i) sum += bytes[i];
  };
  add(weights.embedding);
  add(weights.head);
  add(weights.final_norm);
  for (const LayerWeights& layer : weights.layers) {
    for (const TensorView& view : {layer.q, layer.k, layer.v, layer.o, layer.gate, layer.up,
                                   layer.down, layer.attention_norm, layer.mlp_norm}) {
      add(view);
    }
  }
  return sum;
}

// Damages `file`, part of the checkpoint at `path`, again and again.
void Fuzz(const std::string& path, const std::string& file, size_t span, int rounds) {
  const uint64_t seed = std::random_device()();
  std::cout << file << ": seed " << seed << std::endl;
  std::mt19937_64 random(seed);
  const std::string original = ReadFile(file);
  int refused = 0;
  uint64_t sum = 0;
  for (int round = 0; round < rounds; ++round) {
    ASSERT_TRUE(WriteFile(file, Damaged(original, span, random)).ok());
    const auto checkpoint = OpenCheckpoint(path);
    if (checkpoint.ok()) {
      sum += SumOfBytes((*checkpoint)->weights());
    } else {
      ++refused;
      EXPECT_EQ(checkpoint.status().code(), absl::StatusCode::kInvalidArgument)
          << checkpoint.status() << " (round " << round << ", seed " << seed << ")";
    }
  }
  std::cout << refused << " of " << rounds << " refused, sum of the others " << sum << std::endl;
  EXPECT_GT(refused, 0);
  ASSERT_TRUE(WriteFile(file, original).ok());
  EXPECT_TRUE(OpenCheckpoint(path).ok());
}

TEST(FuzzTest, Gguf) {
  const std::string path = TestFolder() + "/model.gguf";
  ASSERT_TRUE(WriteTinyGguf(path, SmallSpec()).ok());
  const size_t data = kTinyTokens * 32 * 4;  // at least this much is weights
  Fuzz(path, path, std::filesystem::file_size(path) - data, 1500);
}

TEST(FuzzTest, GgufShape) {
  const std::string path = TestFolder() + "/model.gguf";
  ASSERT_TRUE(WriteTinyGguf(path, SmallSpec()).ok());
  Fuzz(path, path, 900, 1500);  // header and the model's own metadata
}

TEST(FuzzTest, Safetensors) {
  const std::string dir = TestFolder();
  ASSERT_TRUE(WriteTinyHfFolder(dir, SmallSpec()).ok());
  Fuzz(dir, dir + "/model.safetensors", 1200, 1000);
}

TEST(FuzzTest, JsonFiles) {
  const std::string dir = TestFolder();
  TinyLlamaSpec spec = SmallSpec();
  spec.num_shards = 2;
  ASSERT_TRUE(WriteTinyHfFolder(dir, spec).ok());
  for (const char* name : {"/config.json", "/model.safetensors.index.json", "/tokenizer.json"}) {
    Fuzz(dir, dir + name, std::filesystem::file_size(dir + name), 300);
  }
}

}  // namespace
}  // namespace sieve
