#include "model/checkpoint/checkpoint.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/model/checkpoint/test_files.h"
#include "tests/testdata/files.h"
#include "tests/testdata/tiny_llama.h"
#include "tests/testdata/tiny_weights.h"

namespace sieve {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

void ReplaceKey(const std::string& path, const char* key, const json& value) {
  json object = json::parse(ReadFile(path));
  object[key] = value;
  ASSERT_TRUE(WriteFile(path, object.dump()).ok());
}

// Whether a view holds the random tensor of that name.
bool Holds(const TensorView& view, const TinyLlamaSpec& spec, const std::string& name,
           TensorRole role) {
  const std::string expected =
      EncodeFloats(view.dtype, RandomTensor(spec.seed, name, role, view.rows, view.cols));
  return view && static_cast<size_t>(view.bytes()) == expected.size() &&
         std::memcmp(view.data, expected.data(), expected.size()) == 0;
}

TEST(CheckpointTest, OpensFoldersOfEveryFloatType) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const int shards : {1, 3}) {
      const std::string dir = TestFolder();
      TinyLlamaSpec spec;
      spec.dtype = dtype;
      spec.num_shards = shards;
      spec.tied = false;
      ASSERT_TRUE(WriteTinyHfFolder(dir, spec).ok());
      const auto checkpoint = OpenCheckpoint(dir);
      ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
      const LlamaWeights& weights = (*checkpoint)->weights();
      EXPECT_EQ(weights.embedding.dtype, dtype);
      EXPECT_TRUE(Holds(weights.embedding, spec, "model.embed_tokens.weight", TensorRole::kMatrix));
      EXPECT_TRUE(Holds(weights.head, spec, "lm_head.weight", TensorRole::kMatrix));
      EXPECT_TRUE(Holds(weights.final_norm, spec, "model.norm.weight", TensorRole::kNorm));
      ASSERT_EQ(weights.layers.size(), 2u);
      EXPECT_TRUE(Holds(weights.layers[1].down, spec, "model.layers.1.mlp.down_proj.weight",
                        TensorRole::kMatrix));
      EXPECT_FALSE(weights.layers[0].q_bias);
      EXPECT_EQ((*checkpoint)->vocabulary().tokens.size(), static_cast<size_t>(kTinyTokens));
      EXPECT_EQ((*checkpoint)->config().name, fs::path(dir).filename());
    }
  }
}

TEST(CheckpointTest, OpensGgufsOfEveryType) {
  for (int type = 0; type < kNumDTypes; ++type) {
    const std::string path = TestFolder() + "/model.gguf";
    TinyLlamaSpec spec;
    spec.dtype = static_cast<DType>(type);
    spec.hidden_size = spec.intermediate_size = 256;
    spec.head_dim = 64;
    ASSERT_TRUE(WriteTinyGguf(path, spec).ok());
    const auto checkpoint = OpenCheckpoint(path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const LlamaWeights& weights = (*checkpoint)->weights();
    EXPECT_EQ(weights.layers[0].q.dtype, spec.dtype);
    EXPECT_EQ(weights.layers[0].q.rows, 256);
    EXPECT_TRUE(Holds(weights.final_norm, spec, "model.norm.weight", TensorRole::kNorm));
    EXPECT_EQ((*checkpoint)->file_bytes(), static_cast<int64_t>(fs::file_size(path)));
    EXPECT_TRUE((*checkpoint)->config().rope_interleaved);
    EXPECT_EQ((*checkpoint)->vocabulary().eos.front(), kTinyImEnd);
  }
}

TEST(CheckpointTest, TiedHeadIsTheEmbedding) {
  for (const bool tied : {true, false}) {
    const std::string dir = TestFolder();
    TinyLlamaSpec spec;
    spec.tied = tied;
    ASSERT_TRUE(WriteTinyHfFolder(dir, spec).ok());
    ASSERT_TRUE(WriteTinyGguf(dir + "/model.gguf", spec).ok());
    for (const std::string& path : {dir, dir + "/model.gguf"}) {
      const auto checkpoint = OpenCheckpoint(path);
      ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
      const LlamaWeights& weights = (*checkpoint)->weights();
      EXPECT_EQ((*checkpoint)->config().tied_embeddings, tied);
      EXPECT_EQ(weights.head.data == weights.embedding.data, tied);
    }
  }
}

TEST(CheckpointTest, ReadsBiases) {
  const std::string dir = TestFolder();
  TinyLlamaSpec spec;
  spec.attention_bias = spec.mlp_bias = true;
  ASSERT_TRUE(WriteTinyHfFolder(dir, spec).ok());
  ASSERT_TRUE(WriteTinyGguf(dir + "/model.gguf", spec).ok());
  for (const std::string& path : {dir, dir + "/model.gguf"}) {
    const auto checkpoint = OpenCheckpoint(path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const LayerWeights& layer = (*checkpoint)->weights().layers[1];
    const std::string prefix = "model.layers.1.";
    EXPECT_TRUE(layer.q_bias);
    EXPECT_TRUE(layer.k_bias);
    EXPECT_TRUE(Holds(layer.v_bias, spec, prefix + "self_attn.v_proj.bias", TensorRole::kBias));
    EXPECT_TRUE(Holds(layer.o_bias, spec, prefix + "self_attn.o_proj.bias", TensorRole::kBias));
    EXPECT_TRUE(Holds(layer.gate_bias, spec, prefix + "mlp.gate_proj.bias", TensorRole::kBias));
    EXPECT_TRUE(Holds(layer.up_bias, spec, prefix + "mlp.up_proj.bias", TensorRole::kBias));
    EXPECT_TRUE(Holds(layer.down_bias, spec, prefix + "mlp.down_proj.bias", TensorRole::kBias));
  }
}

TEST(CheckpointTest, BiasesMustBeAsTheConfigSays) {
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    for (const bool biases : {true, false}) {
      const std::string dir = TestFolder();
      TinyLlamaSpec spec;
      spec.attention_bias = spec.mlp_bias = biases;
      ASSERT_TRUE(WriteTinyHfFolder(dir, spec).ok());
      ReplaceKey(dir + "/config.json", key, !biases);
      ExpectInvalid(OpenCheckpoint(dir).status(), dir, key);
    }
  }
}

TEST(CheckpointTest, PadsTheVocabularyToTheEmbedding) {
  const std::string dir = TestFolder();
  TinyLlamaSpec spec;
  spec.vocabulary_size = kTinyTokens + 28;
  ASSERT_TRUE(WriteTinyHfFolder(dir, spec).ok());
  ASSERT_TRUE(WriteTinyGguf(dir + "/model.gguf", spec).ok());
  for (const std::string& path : {dir, dir + "/model.gguf"}) {
    const auto checkpoint = OpenCheckpoint(path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const Vocabulary& vocabulary = (*checkpoint)->vocabulary();
    ASSERT_EQ(vocabulary.tokens.size(), 288u);
    EXPECT_EQ(vocabulary.tokens[kTinyPad].kind, Vocabulary::Kind::kSpecial);
    EXPECT_EQ(vocabulary.tokens[kTinyPad + 1].kind, Vocabulary::Kind::kUnused);
  }
}

TEST(CheckpointTest, RefusesMoreTokensThanEmbeddings) {
  const std::string dir = TestFolder();
  ASSERT_TRUE(WriteTinyHfFolder(dir, TinyLlamaSpec()).ok());
  json tokenizer = json::parse(ReadFile(dir + "/tokenizer.json"));
  json extra = tokenizer["added_tokens"].back();
  extra["id"] = kTinyTokens;
  extra["content"] = "<|one_too_many|>";
  tokenizer["added_tokens"].push_back(extra);
  ASSERT_TRUE(WriteFile(dir + "/tokenizer.json", tokenizer.dump()).ok());
  ExpectInvalid(OpenCheckpoint(dir).status(), dir, "261 tokens", "260 rows");
}

TEST(CheckpointTest, RefusesShapesUnlikeTheConfig) {
  const std::pair<const char*, const char*> changes[] = {
      {"hidden_size", "model.embed_tokens.weight"},
      {"vocab_size", "model.embed_tokens.weight"},
      {"intermediate_size", "mlp.gate_proj.weight"},
      {"num_attention_heads", "q_proj.weight"},
      {"num_key_value_heads", "k_proj.weight"},
      {"head_dim", "q_proj.weight"},
      {"num_hidden_layers", "model.layers.2.input_layernorm.weight"}};
  for (const auto& [key, tensor] : changes) {
    const std::string dir = TestFolder();
    ASSERT_TRUE(WriteTinyHfFolder(dir, TinyLlamaSpec()).ok());
    const int64_t value = json::parse(ReadFile(dir + "/config.json"))[key];
    ReplaceKey(dir + "/config.json", key, std::string(key) == "num_hidden_layers" ? 3 : value * 2);
    ExpectInvalid(OpenCheckpoint(dir).status(), dir, tensor);
  }
}

TEST(CheckpointTest, RefusesAMissingHead) {
  const std::string dir = TestFolder();
  ASSERT_TRUE(WriteTinyHfFolder(dir, TinyLlamaSpec()).ok());
  ReplaceKey(dir + "/config.json", "tie_word_embeddings", false);
  ExpectInvalid(OpenCheckpoint(dir).status(), dir, "lm_head.weight", "missing");
}

class ShardTest : public testing::Test {
 protected:
  void SetUp() override {
    TinyLlamaSpec spec;
    spec.num_shards = 2;
    ASSERT_TRUE(WriteTinyHfFolder(dir_, spec).ok());
  }
  // Says in the index that a tensor is in that shard.
  void Place(const char* tensor, const json& shard) {
    json map = json::parse(ReadFile(index_))["weight_map"];
    map[tensor] = shard;
    ReplaceKey(index_, "weight_map", map);
  }

  const std::string dir_ = TestFolder();
  const std::string index_ = dir_ + "/model.safetensors.index.json";
};

TEST_F(ShardTest, RefusesAMissingShard) {
  fs::remove(dir_ + "/model-00002-of-00002.safetensors");
  ExpectInvalid(OpenCheckpoint(dir_).status(), index_, "model-00002-of-00002.safetensors",
                "missing");
}

TEST_F(ShardTest, RefusesATruncatedShard) {
  const std::string shard = dir_ + "/model-00001-of-00002.safetensors";
  fs::resize_file(shard, fs::file_size(shard) - 1);
  ExpectInvalid(OpenCheckpoint(dir_).status(), shard, "truncated");
}

TEST_F(ShardTest, StaysInTheFolder) {
  for (const char* name :
       {"../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "passwd"}) {
    Place("model.norm.weight", name);
    ExpectInvalid(OpenCheckpoint(dir_).status(), index_, "model.norm.weight", "is not the name");
  }
  Place("model.norm.weight", 5);
  ExpectInvalid(OpenCheckpoint(dir_).status(), index_, "model.norm.weight", "not a string");
}

TEST_F(ShardTest, RefusesATensorThatIsNotInItsShard) {
  Place("model.unknown.weight", "model-00001-of-00002.safetensors");
  ExpectInvalid(OpenCheckpoint(dir_).status(), index_, "model.unknown.weight", "is not in");
}

TEST_F(ShardTest, RefusesAnIndexWithoutAMap) {
  ReplaceKey(index_, "weight_map", json::array());
  ExpectInvalid(OpenCheckpoint(dir_).status(), index_, "weight_map");
}

TEST(OpenCheckpointTest, FindsTheModelFromAnyOfItsPaths) {
  const std::string dir = TestFolder();
  ASSERT_TRUE(WriteTinyHfFolder(dir + "/hf", TinyLlamaSpec()).ok());
  EXPECT_TRUE(OpenCheckpoint(dir + "/hf/").ok());
  EXPECT_TRUE(OpenCheckpoint(dir + "/hf/model.safetensors").ok());
  fs::create_directory(dir + "/gguf");
  ASSERT_TRUE(WriteTinyGguf(dir + "/gguf/a.gguf", TinyLlamaSpec()).ok());
  EXPECT_TRUE(OpenCheckpoint(dir + "/gguf").ok());
  fs::copy_file(dir + "/gguf/a.gguf", dir + "/gguf/b.gguf");
  ExpectInvalid(OpenCheckpoint(dir + "/gguf").status(), dir, "found no config.json and 2 .gguf");
}

TEST(OpenCheckpointTest, RefusesWhatIsNoModel) {
  const std::string dir = TestFolder();
  EXPECT_EQ(OpenCheckpoint(dir + "/none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(OpenCheckpoint("").status().code(), absl::StatusCode::kNotFound);
  ExpectInvalid(OpenCheckpoint(dir).status(), dir, "not a model");
  ASSERT_TRUE(WriteFile(dir + "/notes.txt", "hello").ok());
  ExpectInvalid(OpenCheckpoint(dir + "/notes.txt").status(), "notes.txt", "not a GGUF file");
  ASSERT_TRUE(WriteTinyHfFolder(dir + "/hf", TinyLlamaSpec()).ok());
  fs::remove(dir + "/hf/tokenizer.json");
  ExpectInvalid(OpenCheckpoint(dir + "/hf").status(), dir + "/hf", "tokenizer.json");
  fs::remove(dir + "/hf/model.safetensors");
  EXPECT_FALSE(OpenCheckpoint(dir + "/hf").ok());
}

TEST(RealCheckpointTest, SmolLm2) {
  const char* cache = std::getenv("SIEVE_CACHE");
  if (cache == nullptr) GTEST_SKIP() << "SIEVE_CACHE is not set";
  const auto checkpoint =
      OpenCheckpoint(std::string(cache) + "/models/SmolLM2-135M-Instruct.Q4_1.gguf");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const ModelConfig& config = (*checkpoint)->config();
  EXPECT_EQ(config.num_layers, 30);
  EXPECT_EQ(config.hidden_size, 576);
  EXPECT_EQ(config.num_heads, 9);
  EXPECT_EQ(config.num_kv_heads, 3);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.vocabulary_size, 49152);
  EXPECT_EQ(config.context_length, 8192);
  EXPECT_EQ(config.rope_theta, 100000);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_EQ((*checkpoint)->weights().embedding.dtype, DType::kQ8_0);
  EXPECT_EQ((*checkpoint)->weights().layers[29].down.dtype, DType::kQ4_1);
}

// The real file, cut at every thirty-second part of what comes before the tensors' data.
TEST(RealCheckpointTest, RefusesACutHeader) {
  const char* cache = std::getenv("SIEVE_CACHE");
  if (cache == nullptr) GTEST_SKIP() << "SIEVE_CACHE is not set";
  const std::string bytes =
      ReadFile(std::string(cache) + "/models/SmolLM2-135M-Instruct.Q4_1.gguf");
  constexpr size_t kHeaderBytes = 1785664;  // where token_embd.weight, the first tensor, starts
  ASSERT_GT(bytes.size(), kHeaderBytes);
  const std::string path = TestFolder() + "/cut.gguf";
  for (size_t part = 0; part <= 32; ++part) {
    ASSERT_TRUE(WriteFile(path, std::string_view(bytes).substr(0, kHeaderBytes * part / 32)).ok());
    ExpectInvalid(OpenCheckpoint(path).status(), path);
  }
  ASSERT_TRUE(WriteFile(path, std::string_view(bytes).substr(0, bytes.size() - 1)).ok());
  ExpectInvalid(OpenCheckpoint(path).status(), path, "tensor", "truncated");
}

}  // namespace
}  // namespace sieve
