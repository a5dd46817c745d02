#include "model/checkpoint/random_checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "kernels/float16.h"
#include "model/chat/chat_format.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/random_fill.h"
#include "model/tokenizer/tokenizer.h"
#include "model/transformer.h"
#include "tests/model/checkpoint/test_files.h"
#include "tests/testdata/files.h"
#include "tests/testdata/tiny_llama.h"

namespace sieve {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Sizes that are no multiples of four or of anything else: tensors' ends are odd.
json Tiny() {
  return {{"architectures", json::array({"LlamaForCausalLM"})},
          {"model_type", "llama"},
          {"hidden_size", 36},
          {"intermediate_size", 77},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 6},
          {"num_key_value_heads", 3},
          {"vocab_size", 301},
          {"max_position_embeddings", 512},
          {"tie_word_embeddings", true},
          {"bos_token_id", 299},
          {"eos_token_id", json::array({300})}};
}

class RandomCheckpointTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const json& config,
                                                   const RandomCheckpointOptions& options = {}) {
    const absl::Status status = WriteFile(path_, config.dump());
    if (!status.ok()) return status;
    return OpenRandomCheckpoint(path_, options);
  }
  std::unique_ptr<Checkpoint> MustOpen(const json& config,
                                       const RandomCheckpointOptions& options = {}) {
    auto checkpoint = Open(config, options);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    return checkpoint.ok() ? *std::move(checkpoint) : nullptr;
  }
  // The status of the tiny config with one key changed.
  absl::Status With(const char* key, const json& value) {
    json config = Tiny();
    config[key] = value;
    return Open(config).status();
  }

  const std::string dir_ = TestFolder();
  const std::string path_ = dir_ + "/config.json";
};

std::vector<uint16_t> Values(const TensorView& view) {
  EXPECT_EQ(view.dtype, DType::kBF16);
  std::vector<uint16_t> values(view.rows * view.cols);
  if (!values.empty()) std::memcpy(values.data(), view.data, view.bytes());
  return values;
}

double DeviationOf(const TensorView& view) {
  double squares = 0;
  const std::vector<uint16_t> values = Values(view);
  for (const uint16_t v : values) squares += std::pow(BFloat16ToFloat(v), 2);
  return std::sqrt(squares / static_cast<double>(values.size()));
}

std::vector<TensorView> TensorsOf(const LlamaWeights& weights) {
  std::vector<TensorView> all = {weights.embedding, weights.final_norm, weights.head};
  for (const LayerWeights& l : weights.layers) {
    all.insert(all.end(),
               {l.attention_norm, l.q, l.k, l.v, l.o, l.q_bias, l.k_bias, l.v_bias, l.o_bias,
                l.mlp_norm, l.gate, l.up, l.down, l.gate_bias, l.up_bias, l.down_bias});
  }
  return all;
}

void ExpectSameWeights(const Checkpoint& a, const Checkpoint& b) {
  const std::vector<TensorView> left = TensorsOf(a.weights()), right = TensorsOf(b.weights());
  ASSERT_EQ(left.size(), right.size());
  for (size_t i = 0; i < left.size(); ++i) {
    ASSERT_EQ(static_cast<bool>(left[i]), static_cast<bool>(right[i])) << i;
    if (left[i]) {
      EXPECT_EQ(Values(left[i]), Values(right[i])) << i;
    }
  }
}

// Logits after some tokens, [vocabulary].
std::vector<float> Logits(const Checkpoint& checkpoint) {
  auto model = Transformer::Create(checkpoint.config(), checkpoint.weights(),
                                   {.num_threads = 1, .cache_pages = 1});
  EXPECT_TRUE(model.ok()) << model.status();
  const std::vector<int32_t> tokens = {5, 255, 0, 17}, positions = {0, 1, 2, 3}, offsets = {0, 4},
                             tables = {0}, rows = {3};
  std::vector<float> logits((*model)->vocabulary_size(), std::nanf(""));
  const absl::Status status = (*model)->Forward({.tokens = tokens,
                                                 .positions = positions,
                                                 .offsets = offsets,
                                                 .block_tables = tables,
                                                 .block_table_stride = 1,
                                                 .logit_rows = rows},
                                                absl::MakeSpan(logits));
  EXPECT_TRUE(status.ok()) << status;
  return logits;
}

TEST_F(RandomCheckpointTest, HasTheShape) {
  const auto checkpoint = MustOpen(Tiny());
  EXPECT_EQ(checkpoint->config().name, fs::path(dir_).filename());
  EXPECT_EQ(checkpoint->config().context_length, 512);
  const LlamaWeights& weights = checkpoint->weights();
  ASSERT_EQ(weights.layers.size(), 2u);
  EXPECT_EQ(weights.embedding.rows, 301);
  EXPECT_EQ(weights.embedding.cols, 36);
  EXPECT_EQ(weights.head.data, weights.embedding.data);
  EXPECT_EQ(weights.layers[1].k.rows, 18);
  EXPECT_EQ(weights.layers[1].down.rows, 36);
  EXPECT_EQ(weights.layers[1].down.cols, 77);
  const int64_t values = 301 * 36 + 36 + 2 * (2 * 36 + 2 * 36 * 36 + 2 * 18 * 36 + 3 * 36 * 77);
  EXPECT_GE(checkpoint->file_bytes(), 2 * values);
  EXPECT_LT(checkpoint->file_bytes(), 2 * values + 64 * 20);
  for (const TensorView& view : TensorsOf(weights)) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view.data) % 64, 0u);
  }
}

TEST_F(RandomCheckpointTest, ValuesAreOfTheRightSize) {
  json config = Tiny();
  const auto usual = MustOpen(config);
  EXPECT_NEAR(DeviationOf(usual->weights().embedding), 0.02, 0.001);
  EXPECT_NEAR(DeviationOf(usual->weights().layers[1].down), 0.02, 0.002);
  config["initializer_range"] = 0.3;
  const auto wide = MustOpen(config);
  EXPECT_NEAR(DeviationOf(wide->weights().embedding), 0.3, 0.015);
  for (const TensorView& norm :
       {wide->weights().final_norm, wide->weights().layers[0].attention_norm,
        wide->weights().layers[1].mlp_norm}) {
    EXPECT_EQ(Values(norm), std::vector<uint16_t>(36, FloatToBFloat16(1)));
  }
}

TEST_F(RandomCheckpointTest, TensorsDiffer) {
  const auto checkpoint = MustOpen(Tiny());
  const LlamaWeights& weights = checkpoint->weights();
  EXPECT_NE(Values(weights.layers[0].q), Values(weights.layers[1].q));
  EXPECT_NE(Values(weights.layers[0].k), Values(weights.layers[0].v));
  EXPECT_NE(Values(weights.layers[0].gate), Values(weights.layers[0].up));
}

// More values than one task makes, so that threads take parts of a tensor.
TEST_F(RandomCheckpointTest, TheSameWhateverTheNumberOfThreads) {
  json config = Tiny();
  config["vocab_size"] = 70000;
  const auto one = MustOpen(config, {.num_threads = 1});
  for (const int threads : {2, 3, 8, 0}) {
    ExpectSameWeights(*one, *MustOpen(config, {.num_threads = threads}));
  }
  std::vector<uint16_t> expected(70000 * 36);
  NormalBf16(0.02).Fill(RandomKey(0, "model.embed_tokens.weight"), 0, absl::MakeSpan(expected));
  EXPECT_EQ(Values(one->weights().embedding), expected);
  EXPECT_NE(Values(one->weights().embedding),
            Values(MustOpen(config, {.seed = 1})->weights().embedding));
}

TEST_F(RandomCheckpointTest, Computes) {
  for (const bool tied : {true, false}) {
    json config = Tiny();
    config["tie_word_embeddings"] = tied;
    config["attention_bias"] = config["mlp_bias"] = !tied;
    const std::vector<float> logits = Logits(*MustOpen(config));
    double squares = 0;
    for (const float logit : logits) {
      ASSERT_TRUE(std::isfinite(logit));
      squares += logit * logit;
    }
    EXPECT_GT(squares, 0);
    EXPECT_EQ(logits, Logits(*MustOpen(config)));
  }
}

TEST_F(RandomCheckpointTest, UntiedEmbeddings) {
  json config = Tiny();
  config["tie_word_embeddings"] = false;
  const auto checkpoint = MustOpen(config);
  const LlamaWeights& weights = checkpoint->weights();
  EXPECT_EQ(weights.head.rows, 301);
  EXPECT_NE(Values(weights.head), Values(weights.embedding));
  // Another tensor more changes none of those that were there.
  EXPECT_EQ(Values(weights.layers[1].down), Values(MustOpen(Tiny())->weights().layers[1].down));
}

void ExpectBiases(const std::vector<TensorView>& biases, bool expected) {
  for (const TensorView& bias : biases) {
    ASSERT_EQ(static_cast<bool>(bias), expected);
    if (expected) {
      EXPECT_NEAR(DeviationOf(bias), 0.02, 0.015);
    }
  }
}

TEST_F(RandomCheckpointTest, BiasesWhereTheConfigHasThem) {
  for (const bool attention : {false, true}) {
    for (const bool mlp : {false, true}) {
      json config = Tiny();
      config["attention_bias"] = attention;
      config["mlp_bias"] = mlp;
      const auto checkpoint = MustOpen(config);
      for (const LayerWeights& layer : checkpoint->weights().layers) {
        ExpectBiases({layer.q_bias, layer.k_bias, layer.v_bias, layer.o_bias}, attention);
        ExpectBiases({layer.gate_bias, layer.up_bias, layer.down_bias}, mlp);
      }
    }
  }
}

TEST_F(RandomCheckpointTest, AFileOfAnotherNameGivesItsOwn) {
  const std::string path = dir_ + "/tiny_0.1b.json";
  ASSERT_TRUE(WriteFile(path, Tiny().dump()).ok());
  EXPECT_EQ((*OpenRandomCheckpoint(path, {}))->config().name, "tiny_0.1b");
  json named = Tiny();
  named["_name_or_path"] = "some/model";
  EXPECT_EQ(MustOpen(named)->config().name, "some/model");
}

TEST_F(RandomCheckpointTest, WithoutTokenizerFilesATokenIsAByte) {
  const auto checkpoint = MustOpen(Tiny());
  const auto tokenizer = Tokenizer::Create(checkpoint->vocabulary());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocabulary_size(), 301);
  EXPECT_EQ((*tokenizer)->Encode("hi", {}), (std::vector<int32_t>{299, 'h', 'i'}));
  EXPECT_EQ(checkpoint->vocabulary().eos, std::vector<int32_t>{300});
  EXPECT_FALSE(ChatFormatFor(**tokenizer).ok());
}

TEST_F(RandomCheckpointTest, TokenizerFilesAreUsed) {
  TinyLlamaSpec spec;
  spec.vocabulary_size = 270;
  ASSERT_TRUE(WriteTinyHfFolder(dir_, spec).ok());
  fs::remove(dir_ + "/model.safetensors");
  auto checkpoint = OpenRandomCheckpoint(path_, {});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const Vocabulary& vocabulary = (*checkpoint)->vocabulary();
  ASSERT_EQ(vocabulary.tokens.size(), 270u);  // padded to the embedding's rows
  EXPECT_EQ(vocabulary.tokens[kTinyImStart].bytes, "<|im_start|>");
  EXPECT_EQ(vocabulary.tokens[269].kind, Vocabulary::Kind::kUnused);
  EXPECT_TRUE(ChatFormatFor(**Tokenizer::Create(vocabulary)).ok());
}

TEST_F(RandomCheckpointTest, TokenizerFilesMustFitTheConfig) {
  ASSERT_TRUE(WriteTinyHfFolder(dir_, TinyLlamaSpec()).ok());
  json config = Tiny();
  config.erase("eos_token_id");
  config["vocab_size"] = 259;
  ExpectInvalid(Open(config).status(), path_, "tokenizer has 260 tokens", "only 259 rows");
  config["vocab_size"] = 261;
  // A config of another name, whose end tokens the folder's reader does not see.
  const std::string other = dir_ + "/other.json";
  ASSERT_TRUE(WriteFile(path_, config.dump()).ok());
  config["eos_token_id"] = 'x';
  ASSERT_TRUE(WriteFile(other, config.dump()).ok());
  const auto checkpoint = OpenRandomCheckpoint(other, {});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->vocabulary().eos.back(), 'x');
  ASSERT_TRUE(WriteFile(dir_ + "/tokenizer.json", "{}").ok());
  ExpectInvalid(OpenRandomCheckpoint(other, {}).status(), "tokenizer.json");
}

TEST_F(RandomCheckpointTest, RefusesWhatHfConfigRefuses) {
  ExpectInvalid(With("model_type", "mixtral"), path_, "mixtral");
  ExpectInvalid(With("hidden_size", 0), path_, "hidden size is 0, expected 1 to");
  ExpectInvalid(With("vocab_size", 0), path_, "vocabulary size is 0");
  ExpectInvalid(With("num_hidden_layers", 1000000), path_, "number of layers is 1000000");
  ExpectInvalid(With("num_key_value_heads", 4), path_, "do not divide");
  ASSERT_TRUE(WriteFile(path_, "{").ok());
  ExpectInvalid(OpenRandomCheckpoint(path_, {}).status(), path_, "malformed JSON");
  ExpectInvalid(OpenRandomCheckpoint(dir_, {}).status(), dir_, "not a regular file");
  EXPECT_EQ(OpenRandomCheckpoint(path_ + ".none", {}).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(RandomCheckpointTest, RefusesWhatMakesNoSense) {
  for (const json& range : {json(0), json(-0.02), json(1.5)}) {
    ExpectInvalid(With("initializer_range", range), path_, "initializer_range", "at most 1");
  }
  ExpectInvalid(With("initializer_range", "0.02"), path_, "initializer_range");
  ExpectInvalid(With("bos_token_id", 301), path_, "\"bos_token_id\" is 301, expected 0 to 300");
  ExpectInvalid(With("bos_token_id", -1), path_, "\"bos_token_id\" is -1");
  ExpectInvalid(With("bos_token_id", "<s>"), path_, "bos_token_id");
  ExpectInvalid(With("eos_token_id", 301), path_, "eos_token_id", "0 to 300");
  ExpectInvalid(With("eos_token_id", {300, "x"}), path_, "eos_token_id");
  ExpectInvalid(With("vocab_size", 1 << 28), path_,
                "\"vocab_size\" is 268435456, expected at most");
  json small = Tiny();
  small["vocab_size"] = 255;
  small["bos_token_id"] = small["eos_token_id"] = nullptr;
  ExpectInvalid(Open(small).status(), path_, "255 tokens", "256 are needed");
}

TEST_F(RandomCheckpointTest, TooLargeForTheMemoryIsAnError) {
  json config = Tiny();
  const auto expect_exhausted = [&] {
    const absl::Status status = Open(config).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    for (const std::string& part : {path_, std::string("GiB of memory are needed")}) {
      EXPECT_NE(std::string(status.message()).find(part), std::string::npos) << status;
    }
  };
  config["head_dim"] = 64;
  config["hidden_size"] = 1 << 20;  // 200 TB in all
  config["intermediate_size"] = 1 << 24;
  expect_exhausted();
  // Every size as large as it may be: their sum has more than 64 bits.
  config["num_hidden_layers"] = 10000;
  config["num_attention_heads"] = config["num_key_value_heads"] = 1 << 16;
  config["head_dim"] = 1 << 16;
  config["vocab_size"] = kMaxVocabularySize;
  expect_exhausted();
}

// The shape that benchmarks use: every size is Llama 3.2 1B's.
TEST(RandomCheckpointBenchTest, Llama32) {
  const auto config = json::parse(ReadFile("bench/models/llama_3.2_1b.json"));
  const int64_t hidden = config["hidden_size"], inner = config["intermediate_size"];
  const int64_t q =
      config["num_attention_heads"].get<int64_t>() * config["head_dim"].get<int64_t>();
  const int64_t kv =
      config["num_key_value_heads"].get<int64_t>() * config["head_dim"].get<int64_t>();
  const int64_t layer = 2 * hidden * q + 2 * hidden * kv + 3 * hidden * inner + 2 * hidden;
  const int64_t layers = config["num_hidden_layers"], vocabulary = config["vocab_size"];
  EXPECT_EQ(layers * layer + vocabulary * hidden + hidden, 1235814400);  // as published
  // The same file with one layer of little width opens.
  json small = config;
  small.update({{"hidden_size", 64}, {"intermediate_size", 64}, {"num_hidden_layers", 1}});
  const std::string path = TestFolder() + "/small.json";
  ASSERT_TRUE(WriteFile(path, small.dump()).ok());
  const auto checkpoint = OpenRandomCheckpoint(path, {});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->vocabulary().bos, 128000);
  EXPECT_EQ((*checkpoint)->vocabulary().eos, (std::vector<int32_t>{128001, 128008, 128009}));
  EXPECT_EQ((*checkpoint)->config().rope_scaling.kind, RopeScaling::Kind::kLlama3);
}

}  // namespace
}  // namespace sieve
