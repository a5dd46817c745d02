#include "model/adapter/adapter_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "kernels/float16.h"
#include "model/adapter/adapter_json.h"
#include "tests/model/attention/random_adapter.h"
#include "tests/model/checkpoint/test_files.h"
#include "tests/testdata/files.h"

namespace sieve {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

ModelConfig TinyModel() {
  ModelConfig model;
  model.name = "tiny";
  model.num_layers = 3;
  model.hidden_size = 24;
  model.num_heads = 4;
  model.num_kv_heads = 2;
  model.head_dim = 16;
  return model;
}

// Every option somewhere other than at its default, and every tensor of the format in one of them.
std::vector<AdapterConfig> Configs() {
  std::vector<AdapterConfig> configs(5, AdapterConfigFor(TinyModel(), std::string(64, 'a')));
  configs[1].selector = Selector::kGate;
  configs[1].value_residual_mlp = true;
  configs[1].position_embeddings = true;
  configs[1].expand_factor = 0.25;
  configs[1].compression_block = 8;
  configs[1].dense_layers = {0, 2};
  configs[1].branch_biases = true;
  configs[2].selector = Selector::kCompressed;
  configs[2].key_compression = Compression::kMlp;
  configs[2].value_compression = Compression::kMlp;
  configs[2].shared_compression = true;
  configs[2].compression_block = 16;
  configs[2].combiner = Combiner::kLiteral;
  configs[3].selector = Selector::kQuestMean;
  configs[3].tail = false;
  configs[3].sink_blocks = 0;
  configs[3].window_blocks = 3;
  configs[3].selected_blocks = 5;
  configs[3].query_tile = 16;
  configs[4].key_compression = Compression::kMax;
  configs[4].value_compression = Compression::kMean;
  configs[4].index_rank = 4;
  configs[4].index_bits = 16;
  return configs;
}

void ExpectEqual(const Adapter& a, const Adapter& b) {
  EXPECT_EQ(AdapterConfigToJson(a.config), AdapterConfigToJson(b.config));
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (size_t layer = 0; layer < a.layers.size(); ++layer) {
    for (const AdapterTensor& tensor : AdapterTensors(a.config)) {
      EXPECT_EQ(a.layers[layer].*tensor.values, b.layers[layer].*tensor.values) << tensor.name;
    }
  }
}

class AdapterFileTest : public testing::Test {
 protected:
  void Write(const Adapter& adapter, DType dtype = DType::kF32) {
    const absl::Status status = WriteAdapter(adapter, dir_, dtype);
    ASSERT_TRUE(status.ok()) << status;
  }
  void WriteDefault() { Write(RandomAdapter(Configs()[0], 1)); }

  json Config() { return json::parse(ReadFile(config_path_)); }
  absl::Status OpenWith(const json& config) {
    EXPECT_TRUE(WriteFile(config_path_, config.dump()).ok());
    return OpenAdapter(dir_).status();
  }
  // With one key changed.
  absl::Status OpenWith(const std::string& key, const json& value) {
    json config = Config();
    const json before = config;
    config[key] = value;
    const absl::Status status = OpenWith(config);
    EXPECT_TRUE(WriteFile(config_path_, before.dump()).ok());
    return status;
  }

  const std::string root_ = TestFolder();
  const std::string dir_ = root_ + "/adapter";
  const std::string config_path_ = dir_ + "/adapter_config.json";
  const std::string tensors_path_ = dir_ + "/adapter_model.safetensors";
};

TEST_F(AdapterFileTest, WhatIsWrittenIsReadBack) {
  std::set<std::string> digests;
  for (const AdapterConfig& config : Configs()) {
    const Adapter adapter = RandomAdapter(config, 7);
    Write(adapter);
    const auto read = OpenAdapter(dir_);
    ASSERT_TRUE(read.ok()) << read.status();
    ExpectEqual(*read, adapter);
    EXPECT_EQ(read->digest.size(), 64u);
    digests.insert(read->digest);
  }
  EXPECT_EQ(digests.size(), Configs().size());
}

TEST_F(AdapterFileTest, Bf16RoundsToNearestEven) {
  Adapter adapter = RandomAdapter(Configs()[1], 3);
  Write(adapter, DType::kBF16);
  for (AdapterLayer& layer : adapter.layers) {
    for (const AdapterTensor& tensor : AdapterTensors(adapter.config)) {
      for (float& value : layer.*tensor.values) value = BFloat16ToFloat(FloatToBFloat16(value));
    }
  }
  const auto read = OpenAdapter(dir_);
  ASSERT_TRUE(read.ok()) << read.status();
  ExpectEqual(*read, adapter);
}

TEST_F(AdapterFileTest, TheDigestIsOfConfigurationAndTensors) {
  const auto digest = [this](const AdapterConfig& config, uint64_t seed) {
    Write(RandomAdapter(config, seed));
    return OpenAdapter(dir_)->digest;
  };
  AdapterConfig config = Configs()[0];
  const std::string first = digest(config, 1);
  EXPECT_EQ(digest(config, 1), first);
  EXPECT_NE(digest(config, 2), first);
  config.selected_blocks = 9;
  EXPECT_NE(digest(config, 1), first);
}

TEST_F(AdapterFileTest, EveryKeyMustBeThereAndOfItsType) {
  WriteDefault();
  const json whole = Config();
  for (const auto& [key, value] : whole.items()) {
    json config = whole;
    config.erase(key);
    ExpectInvalid(OpenWith(config), config_path_, key, "missing");
    config[key] = nullptr;
    ExpectInvalid(OpenWith(config), key);
    config[key] = json::object();
    ExpectInvalid(OpenWith(config), key);
  }
  ASSERT_TRUE(OpenWith(whole).ok());
}

TEST_F(AdapterFileTest, RefusesWhatItDoesNotKnow) {
  WriteDefault();
  ExpectInvalid(OpenWith("selected_block", 8), config_path_, "unknown key \"selected_block\"");
  ExpectInvalid(OpenWith("format_version", 2), "\"format_version\": 2 is not supported (1 is)");
  ExpectInvalid(OpenWith("peft_type", "LORA"), "LORA", "SIEVE_NSA");
  ExpectInvalid(OpenWith("variant", "other"), "other", "nsa");
  ExpectInvalid(OpenWith("selector", "indx"), "\"selector\"", "indx",
                "index, gate, compressed, mean, max, quest, quest_mean, oracle");
  ExpectInvalid(OpenWith("key_compression", "median"), "median", "tilted, mean, max, mlp");
  ExpectInvalid(OpenWith("combiner", "sum"), "sum", "log_sum_exp, literal");
  ExpectInvalid(OpenWith("base_model_digest", "abc"), "abc", "64");
  ExpectInvalid(OpenWith("base_model_digest", std::string(64, 'A')), "lower-case");
  ExpectInvalid(OpenWith("query_tile", 17), "query_tile", "17");
  ExpectInvalid(OpenWith("selected_blocks", -1), "selected_blocks", "-1");
  ExpectInvalid(OpenWith("num_layers", 1.5), "num_layers");
  ExpectInvalid(OpenWith("num_layers", 1e300), "num_layers");
  ExpectInvalid(OpenWith("dense_layers", {1, 0}), "ascending");
  ExpectInvalid(OpenWith("dense_layers", {1, "2"}), "dense_layers");
  ExpectInvalid(OpenWith("dense_layers", {nullptr}), "dense_layers");
  ASSERT_TRUE(WriteFile(config_path_, "{").ok());
  ExpectInvalid(OpenAdapter(dir_).status(), config_path_, "malformed");
}

TEST_F(AdapterFileTest, ALaterFormatIsToldBeforeItsKeys) {
  WriteDefault();
  json config = Config();
  config["format_version"] = 2;
  config["something_new"] = true;
  ExpectInvalid(OpenWith(config), "format_version");
}

TEST_F(AdapterFileTest, RefusesMissingExtraAndMisshapenTensors) {
  WriteDefault();
  ExpectInvalid(OpenWith("index_rank", 4), tensors_path_, "\"layers.0.index.q\"", "[2, 16, 16]",
                "expected [2, 16, 4]");
  ExpectInvalid(OpenWith("position_embeddings", true), "\"layers.0.compress.key_position\"",
                "missing");
  ExpectInvalid(OpenWith("dense_layers", {1}), "\"layers.1.", "not one that the configuration");
  ExpectInvalid(OpenWith("num_layers", 2), "\"layers.2.");
  ExpectInvalid(OpenWith("num_layers", 4), "\"layers.3.", "missing");
}

TEST_F(AdapterFileTest, RefusesTruncatedAndMissingFiles) {
  WriteDefault();
  const std::string bytes = ReadFile(tensors_path_);
  for (const size_t size : {size_t{0}, size_t{7}, size_t{100}, bytes.size() - 1}) {
    ASSERT_TRUE(WriteFile(tensors_path_, bytes.substr(0, size)).ok());
    ExpectInvalid(OpenAdapter(dir_).status(), tensors_path_);
  }
  fs::remove(tensors_path_);
  EXPECT_EQ(OpenAdapter(dir_).status().code(), absl::StatusCode::kNotFound);
  fs::remove(config_path_);
  EXPECT_EQ(OpenAdapter(dir_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(OpenAdapter(root_ + "/none").status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteFile(root_ + "/file", "").ok());
  ExpectInvalid(OpenAdapter(root_ + "/file").status(), "not a folder");
}

TEST_F(AdapterFileTest, RefusesWeightsThatAreNotFinite) {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    WriteDefault();
    // In the file itself: the writer refuses them too.
    std::string bytes = ReadFile(tensors_path_);
    std::memcpy(bytes.data() + bytes.size() - sizeof(bad), &bad, sizeof(bad));
    ASSERT_TRUE(WriteFile(tensors_path_, bytes).ok());
    ExpectInvalid(OpenAdapter(dir_).status(), tensors_path_, "\"layers.2.combine.bias\"",
                  "value 3 is ");
    Adapter adapter = RandomAdapter(Configs()[0], 2);
    adapter.layers[1].tilt[5] = bad;
    ExpectInvalid(WriteAdapter(adapter, dir_, DType::kF32), "\"layers.1.compress.tilt\"",
                  "value 5 is ");
  }
}

TEST_F(AdapterFileTest, RefusesToWriteWhatItWouldNotRead) {
  const Adapter good = RandomAdapter(Configs()[0], 2);
  Adapter adapter = good;
  adapter.config.base_digest = "";
  ExpectInvalid(WriteAdapter(adapter, dir_, DType::kF32), "base_model_digest");
  adapter = good;
  adapter.layers.pop_back();
  ExpectInvalid(WriteAdapter(adapter, dir_, DType::kF32), "2 layers");
  adapter = good;
  adapter.layers[0].bias.push_back(0);
  ExpectInvalid(WriteAdapter(adapter, dir_, DType::kF32), "compress.bias", "5 values");
  adapter = good;
  adapter.layers[0].bias[0] = std::numeric_limits<float>::max();
  ExpectInvalid(WriteAdapter(adapter, dir_, DType::kBF16), "compress.bias", "too large");
  EXPECT_FALSE(fs::exists(dir_));
}

TEST_F(AdapterFileTest, ANewAdapterTakesTheOldOnesPlace) {
  WriteDefault();
  const Adapter second = RandomAdapter(Configs()[1], 2);
  fs::create_directory(root_ + "/.adapter.partial");  // of a writer that was killed
  const absl::Status status = WriteAdapter(second, dir_ + "/", DType::kF32);
  ASSERT_TRUE(status.ok()) << status;
  ExpectEqual(*OpenAdapter(dir_), second);
  EXPECT_EQ(std::distance(fs::directory_iterator(root_), fs::directory_iterator()), 1);
  // Through a link, which stays one.
  fs::create_directory_symlink(dir_, root_ + "/link");
  const Adapter third = RandomAdapter(Configs()[2], 3);
  ASSERT_TRUE(WriteAdapter(third, root_ + "/link", DType::kF32).ok());
  ExpectEqual(*OpenAdapter(dir_), third);
  EXPECT_TRUE(fs::is_symlink(root_ + "/link"));
}

// What is open stays what it was: never one adapter's configuration with another's tensors.
TEST_F(AdapterFileTest, AFolderThatIsReplacedWhileItIsReadIsToBeReadAgain) {
  WriteDefault();
  const auto open = AdapterDir::Open(dir_);
  ASSERT_TRUE(open.ok()) << open.status();
  ExpectEqual(*open->Read(), RandomAdapter(Configs()[0], 1));
  Write(RandomAdapter(Configs()[1], 2));
  const absl::Status status = open->Read().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  ExpectEqual(*OpenAdapter(dir_), RandomAdapter(Configs()[1], 2));
}

TEST_F(AdapterFileTest, OtherFilesAreNotReplaced) {
  WriteDefault();
  ASSERT_TRUE(WriteFile(dir_ + "/thesis.txt", "years of work").ok());
  const absl::Status status = WriteAdapter(RandomAdapter(Configs()[1], 2), dir_, DType::kF32);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(std::string(status.message()).find("thesis.txt"), std::string::npos) << status;
  ExpectEqual(*OpenAdapter(dir_), RandomAdapter(Configs()[0], 1));
  EXPECT_EQ(ReadFile(dir_ + "/thesis.txt"), "years of work");
}

TEST_F(AdapterFileTest, AFullDiskLeavesTheOldAdapter) {
  WriteDefault();
  // The system's limit on a file's size fails writes as a full disk does, without its signal.
  signal(SIGXFSZ, SIG_IGN);
  rlimit before = {};
  getrlimit(RLIMIT_FSIZE, &before);
  for (const rlim_t size : {100, 3000}) {  // in the first file, in the second
    const rlimit limit = {size, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    const absl::Status status = WriteAdapter(RandomAdapter(Configs()[1], 2), dir_, DType::kF32);
    setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_FALSE(status.ok());
    EXPECT_NE(std::string(status.message()).find("writing failed"), std::string::npos) << status;
    ExpectEqual(*OpenAdapter(dir_), RandomAdapter(Configs()[0], 1));
    EXPECT_EQ(std::distance(fs::directory_iterator(root_), fs::directory_iterator()), 1);
  }
}

TEST_F(AdapterFileTest, FitsTheModelThatItWasMadeForOnly) {
  const AdapterConfig config = Configs()[0];
  const std::string digest(64, 'a');
  EXPECT_TRUE(CheckAdapterFits(config, TinyModel(), digest).ok());
  ModelConfig other = TinyModel();
  other.name = "larger";
  ExpectInvalid(CheckAdapterFits(config, other, std::string(64, 'b')), "\"tiny\"", "\"larger\"",
                "weights", "aaaaaaaaaaaa", "bbbbbbbbbbbb");
  other.num_kv_heads = 4;
  ExpectInvalid(CheckAdapterFits(config, other, digest), "\"tiny\"", "\"larger\"",
                "num_kv_heads is 2 there and 4 here");
  for (int64_t ModelConfig::*field :
       {&ModelConfig::num_layers, &ModelConfig::hidden_size, &ModelConfig::num_heads,
        &ModelConfig::num_kv_heads, &ModelConfig::head_dim}) {
    other = TinyModel();
    other.*field *= 2;
    ExpectInvalid(CheckAdapterFits(config, other, digest), "there and");
  }
}

}  // namespace
}  // namespace sieve
