#include "model/checkpoint/llama_gguf.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/model/checkpoint/test_files.h"
#include "tests/testdata/files.h"
#include "tests/testdata/gguf_writer.h"

namespace sieve {
namespace {

class LlamaGgufTest : public testing::Test {
 protected:
  // A minimal file, without `left_out`, with what `add` adds.
  absl::StatusOr<ModelConfig> Read(const std::string& left_out,
                                   const std::function<void(GgufWriter&)>& add) {
    GgufWriter writer;
    const auto integer = [&](const std::string& key, uint32_t value) {
      if (key != left_out) writer.AddUint32(key, value);
    };
    if (left_out != "general.architecture") writer.AddString("general.architecture", "llama");
    integer("llama.block_count", 2);
    integer("llama.context_length", 512);
    integer("llama.embedding_length", 8);
    integer("llama.feed_forward_length", 16);
    integer("llama.attention.head_count", 2);
    if (left_out != "llama.attention.layer_norm_rms_epsilon") {
      writer.AddFloat("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    }
    if (left_out != "token_embd.weight") {
      writer.AddTensor("token_embd.weight", {8, 3}, 0, std::string(96, '\0'));
    }
    add(writer);
    const absl::Status status = WriteFile(path_, writer.Finish());
    if (!status.ok()) return status;
    auto file = GgufFile::Open(path_);
    if (!file.ok()) return file.status();
    return ReadGgufConfig(**file);
  }
  absl::Status With(const std::function<void(GgufWriter&)>& add) { return Read("", add).status(); }

  const std::string path_ = TestFolder() + "/model.gguf";
};

TEST_F(LlamaGgufTest, ReadsTheShapeWithDefaults) {
  const auto config = Read("", [](GgufWriter&) {});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->hidden_size, 8);
  EXPECT_EQ(config->intermediate_size, 16);
  EXPECT_EQ(config->num_layers, 2);
  EXPECT_EQ(config->num_heads, 2);
  EXPECT_EQ(config->num_kv_heads, 2);
  EXPECT_EQ(config->head_dim, 4);
  EXPECT_EQ(config->vocabulary_size, 3);
  EXPECT_EQ(config->context_length, 512);
  EXPECT_EQ(config->rope_theta, 10000);
  EXPECT_FLOAT_EQ(config->rms_norm_epsilon, 1e-5f);
  EXPECT_TRUE(config->rope_interleaved);
  EXPECT_TRUE(config->tied_embeddings);
  EXPECT_TRUE(config->rope_frequency_divisors.empty());
}

TEST_F(LlamaGgufTest, ReadsWhatIsOptional) {
  const auto config = Read("", [](GgufWriter& writer) {
    writer.AddString("general.name", "Some model");
    writer.AddUint32("llama.attention.head_count_kv", 1);
    writer.AddUint32("llama.attention.key_length", 6);
    writer.AddUint32("llama.attention.value_length", 6);
    writer.AddUint32("llama.rope.dimension_count", 6);
    writer.AddFloat("llama.rope.freq_base", 500000);
    writer.AddString("llama.rope.scaling.type", "linear");
    writer.AddFloat("llama.rope.scaling.factor", 4);
    writer.AddTensor("output.weight", {8, 3}, 0, std::string(96, '\0'));
    writer.AddTensor("rope_freqs.weight", {3}, 0,
                     GgufWriter::Bytes(1.0f) + GgufWriter::Bytes(2.0f) + GgufWriter::Bytes(8.0f));
  });
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->name, "Some model");
  EXPECT_EQ(config->num_kv_heads, 1);
  EXPECT_EQ(config->head_dim, 6);
  EXPECT_EQ(config->rope_theta, 500000);
  EXPECT_EQ(config->rope_scaling.kind, RopeScaling::Kind::kLinear);
  EXPECT_EQ(config->rope_scaling.factor, 4);
  EXPECT_FALSE(config->tied_embeddings);
  EXPECT_EQ(config->rope_frequency_divisors, (std::vector<float>{1, 2, 8}));
}

TEST_F(LlamaGgufTest, ReadsTheOlderFormOfLinearScaling) {
  const auto config =
      Read("", [](GgufWriter& writer) { writer.AddFloat("llama.rope.scale_linear", 2); });
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->rope_scaling.kind, RopeScaling::Kind::kLinear);
  EXPECT_EQ(config->rope_scaling.factor, 2);
}

TEST_F(LlamaGgufTest, NamesWhatIsMissing) {
  for (const char* key :
       {"general.architecture", "llama.block_count", "llama.context_length",
        "llama.embedding_length", "llama.feed_forward_length", "llama.attention.head_count",
        "llama.attention.layer_norm_rms_epsilon", "token_embd.weight"}) {
    ExpectInvalid(Read(key, [](GgufWriter&) {}).status(), path_, key, "missing");
  }
}

TEST_F(LlamaGgufTest, NamesAWrongType) {
  const auto text = [this](const char* key) {
    return Read(key, [&](GgufWriter& writer) { writer.AddString(key, "7"); }).status();
  };
  ExpectInvalid(text("llama.block_count"), path_, "llama.block_count", "not an integer");
  ExpectInvalid(text("llama.rope.freq_base"), path_, "llama.rope.freq_base", "not a number");
  ExpectInvalid(With([](GgufWriter& w) { w.AddUint32("general.name", 1); }), "general.name",
                "not a string");
  // Some architectures give a count for each layer.
  ExpectInvalid(With([](GgufWriter& w) {
                  w.AddInts("llama.attention.head_count_kv", {1, 2});
                }),
                "llama.attention.head_count_kv", "not an integer");
}

TEST_F(LlamaGgufTest, RefusesWhatIsNotImplementedByName) {
  const auto other = Read("general.architecture", [](GgufWriter& writer) {
    writer.AddString("general.architecture", "qwen2");
  });
  ExpectInvalid(other.status(), path_, "general.architecture", "qwen2");
  ExpectInvalid(With([](GgufWriter& w) { w.AddString("llama.rope.scaling.type", "yarn"); }),
                "llama.rope.scaling.type", "yarn");
  ExpectInvalid(With([](GgufWriter& w) { w.AddUint32("llama.expert_count", 8); }),
                "llama.expert_count");
  ExpectInvalid(With([](GgufWriter& w) { w.AddUint32("split.count", 2); }), "split.count");
  ExpectInvalid(With([](GgufWriter& w) { w.AddUint32("llama.rope.dimension_count", 2); }),
                "llama.rope.dimension_count");
  ExpectInvalid(With([](GgufWriter& w) { w.AddUint32("llama.attention.value_length", 8); }),
                "llama.attention.value_length");
}

TEST_F(LlamaGgufTest, RefusesShapesThatCannotBe) {
  const auto changed = [this](const char* key, uint32_t value) {
    return Read(key, [&](GgufWriter& writer) { writer.AddUint32(key, value); }).status();
  };
  ExpectInvalid(changed("llama.block_count", 4294967295), path_, "number of layers");
  ExpectInvalid(changed("llama.embedding_length", 0), path_, "hidden size");
  ExpectInvalid(changed("llama.attention.head_count", 0), path_, "attention heads");
  ExpectInvalid(changed("llama.attention.head_count_kv", 0), path_, "key/value heads");
}

TEST_F(LlamaGgufTest, RefusesBadRopeDivisors) {
  const auto with_divisors = [this](uint64_t count, float value) {
    return With([=](GgufWriter& writer) {
      std::string data;
      for (uint64_t i = 0; i < count; ++i) data += GgufWriter::Bytes(value);
      writer.AddTensor("rope_freqs.weight", {count}, 0, data);
    });
  };
  EXPECT_TRUE(with_divisors(2, 1).ok());
  ExpectInvalid(with_divisors(3, 1), path_, "rope_freqs.weight", "[1, 2]");
  ExpectInvalid(with_divisors(2, 0), path_, "rope frequency divisor");
  ExpectInvalid(with_divisors(2, std::nanf("")), path_, "rope frequency divisor");
}

}  // namespace
}  // namespace sieve
