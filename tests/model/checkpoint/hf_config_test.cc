#include "model/checkpoint/hf_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/model/checkpoint/test_files.h"
#include "tests/testdata/files.h"

namespace sieve {
namespace {

using nlohmann::json;

json Minimal() {
  return {{"architectures", json::array({"LlamaForCausalLM"})},
          {"model_type", "llama"},
          {"hidden_size", 64},
          {"intermediate_size", 128},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"vocab_size", 300}};
}

class HfConfigTest : public testing::Test {
 protected:
  absl::StatusOr<HfConfig> ReadText(const std::string& text) {
    const absl::Status status = WriteFile(path_, text);
    if (!status.ok()) return status;
    return ReadHfConfig(path_);
  }
  absl::StatusOr<HfConfig> Read(const json& config) { return ReadText(config.dump()); }
  // The status of a minimal config with one key changed.
  absl::Status With(const char* key, const json& value) {
    json config = Minimal();
    config[key] = value;
    return Read(config).status();
  }

  const std::string path_ = TestFolder() + "/config.json";
};

TEST_F(HfConfigTest, FillsInTheDefaultsOfTransformers) {
  const auto config = Read(Minimal());
  ASSERT_TRUE(config.ok()) << config.status();
  const ModelConfig& model = config->model;
  EXPECT_EQ(model.architecture, "llama");
  EXPECT_EQ(model.num_kv_heads, 4);
  EXPECT_EQ(model.head_dim, 16);
  EXPECT_EQ(model.context_length, 2048);
  EXPECT_EQ(model.rms_norm_epsilon, 1e-6);
  EXPECT_EQ(model.rope_theta, 10000);
  EXPECT_EQ(model.rope_scaling.kind, RopeScaling::Kind::kNone);
  EXPECT_FALSE(model.rope_interleaved);
  EXPECT_FALSE(model.tied_embeddings);
  EXPECT_FALSE(config->attention_bias);
  EXPECT_FALSE(config->mlp_bias);
}

TEST_F(HfConfigTest, ReadsEveryField) {
  json object = Minimal();
  object.update({{"num_key_value_heads", 2},
                 {"head_dim", 32},
                 {"max_position_embeddings", 131072},
                 {"rms_norm_eps", 1e-5},
                 {"rope_theta", 500000.0},
                 {"tie_word_embeddings", true},
                 {"attention_bias", true},
                 {"mlp_bias", true},
                 {"_name_or_path", "some/model"},
                 {"rope_scaling",
                  {{"rope_type", "llama3"},
                   {"factor", 32.0},
                   {"low_freq_factor", 1.0},
                   {"high_freq_factor", 4.0},
                   {"original_max_position_embeddings", 8192}}}});
  const auto config = Read(object);
  ASSERT_TRUE(config.ok()) << config.status();
  const ModelConfig& model = config->model;
  EXPECT_EQ(model.name, "some/model");
  EXPECT_EQ(model.hidden_size, 64);
  EXPECT_EQ(model.intermediate_size, 128);
  EXPECT_EQ(model.num_layers, 2);
  EXPECT_EQ(model.num_heads, 4);
  EXPECT_EQ(model.num_kv_heads, 2);
  EXPECT_EQ(model.head_dim, 32);
  EXPECT_EQ(model.vocabulary_size, 300);
  EXPECT_EQ(model.context_length, 131072);
  EXPECT_EQ(model.rms_norm_epsilon, 1e-5);
  EXPECT_EQ(model.rope_theta, 500000);
  EXPECT_TRUE(model.tied_embeddings);
  EXPECT_TRUE(config->attention_bias);
  EXPECT_TRUE(config->mlp_bias);
  EXPECT_EQ(model.rope_scaling.kind, RopeScaling::Kind::kLlama3);
  EXPECT_EQ(model.rope_scaling.factor, 32);
  EXPECT_EQ(model.rope_scaling.low_freq_factor, 1);
  EXPECT_EQ(model.rope_scaling.high_freq_factor, 4);
  EXPECT_EQ(model.rope_scaling.original_context_length, 8192);
}

TEST_F(HfConfigTest, ReadsTheNewerRopeParameters) {
  json object = Minimal();
  object["rope_parameters"] = {{"rope_type", "linear"}, {"factor", 2}, {"rope_theta", 20000.0}};
  const auto config = Read(object);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model.rope_theta, 20000);
  EXPECT_EQ(config->model.rope_scaling.kind, RopeScaling::Kind::kLinear);
  EXPECT_EQ(config->model.rope_scaling.factor, 2);
}

TEST_F(HfConfigTest, ReadsTheOlderNameOfTheRopeType) {
  json object = Minimal();
  object["rope_scaling"] = {{"type", "linear"}, {"factor", 2}};
  const auto config = Read(object);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model.rope_scaling.kind, RopeScaling::Kind::kLinear);
}

TEST_F(HfConfigTest, NullMeansAbsent) {
  for (const char* key : {"rope_scaling", "rope_parameters", "head_dim", "num_key_value_heads",
                          "tie_word_embeddings", "quantization_config"}) {
    EXPECT_TRUE(With(key, nullptr).ok()) << key;
  }
}

TEST_F(HfConfigTest, RefusesOtherArchitecturesByName) {
  ExpectInvalid(With("model_type", "mixtral"), path_, "model_type", "mixtral");
  ExpectInvalid(With("architectures", {"Qwen2ForCausalLM"}), path_, "Qwen2ForCausalLM");
  ExpectInvalid(With("architectures", json::array()), path_, "architecture");
  ExpectInvalid(ReadText("{}").status(), path_, "not a model's config.json");
}

TEST_F(HfConfigTest, RefusesWhatIsNotImplementedByName) {
  ExpectInvalid(With("hidden_act", "gelu"), path_, "hidden_act", "gelu");
  ExpectInvalid(With("quantization_config", {{"quant_method", "gptq"}}), path_, "gptq");
  ExpectInvalid(With("partial_rotary_factor", 0.5), path_, "partial_rotary_factor");
  ExpectInvalid(With("rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}), path_,
                "rope_scaling", "yarn");
  ExpectInvalid(With("rope_parameters", {{"rope_type", "dynamic"}}), path_, "rope_parameters",
                "dynamic");
}

TEST_F(HfConfigTest, NamesTheKeyOfAWrongType) {
  for (const char* key : {"hidden_size", "num_hidden_layers", "vocab_size", "head_dim"}) {
    for (const json& value : {json("64"), json(64.5), json::array(), json(true)}) {
      ExpectInvalid(With(key, value), path_, key);
    }
    ExpectInvalid(With(key, ~uint64_t{0}), path_, key);
  }
  ExpectInvalid(With("rope_theta", "big"), path_, "rope_theta");
  ExpectInvalid(With("tie_word_embeddings", 1), path_, "tie_word_embeddings");
  ExpectInvalid(With("rope_scaling", "llama3"), path_, "rope_scaling");
  ExpectInvalid(With("model_type", 7), path_, "model_type");
  ExpectInvalid(With("quantization_config", {{"quant_method", 1}}), path_, "quant_method");
}

TEST_F(HfConfigTest, RefusesShapesThatCannotBe) {
  ExpectInvalid(With("hidden_size", -64), path_, "hidden size");
  ExpectInvalid(With("num_attention_heads", 0), path_, "attention heads");
  ExpectInvalid(With("num_key_value_heads", 3), path_, "do not divide");
  ExpectInvalid(With("num_hidden_layers", 1000000), path_, "number of layers");
  ExpectInvalid(With("rope_scaling", {{"rope_type", "llama3"}, {"factor", 8.0}}), path_,
                "low_freq_factor");
  ExpectInvalid(With("rope_scaling", {{"rope_type", "linear"}}), path_, "factor");
  json no_layers = Minimal();
  no_layers.erase("num_hidden_layers");
  ExpectInvalid(Read(no_layers).status(), path_, "number of layers");
}

TEST_F(HfConfigTest, RefusesMalformedFiles) {
  ExpectInvalid(ReadText("").status(), path_, "malformed JSON");
  ExpectInvalid(ReadText("{\"a\": 1").status(), path_, "malformed JSON");
  ExpectInvalid(ReadText("[1]").status(), path_, "not a JSON object");
  ExpectInvalid(ReadText("{\"a\": 1, \"a\": 2}").status(), path_, "\"a\" appears twice");
  EXPECT_EQ(ReadHfConfig(path_ + ".none").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace sieve
