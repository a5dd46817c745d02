#include "model/adapter/parameter_report.h"

#include <gtest/gtest.h>

#include "model/adapter/adapter.h"
#include "tests/model/attention/random_adapter.h"

namespace sieve {
namespace {

ModelConfig Llama1B() {
  ModelConfig model;
  model.name = "Llama 3.2 1B";
  model.hidden_size = 2048;
  model.intermediate_size = 8192;
  model.num_layers = 16;
  model.num_heads = 32;
  model.num_kv_heads = 8;
  model.head_dim = 64;
  model.vocabulary_size = 128256;
  model.tied_embeddings = true;
  return model;
}

// Max-pooled keys and an MLP for values, per head, with the gates of Native Sparse Attention.
AdapterConfig Literal() {
  AdapterConfig config = AdapterConfigFor(Llama1B());
  config.selector = Selector::kCompressed;
  config.key_compression = Compression::kMax;
  config.value_compression = Compression::kMlp;
  config.compression_block = 16;
  config.position_embeddings = true;
  config.combiner = Combiner::kLiteral;
  return config;
}

double Percent(const AdapterConfig& config, int64_t count) {
  const ParameterReport report = CountParameters(config, BaseParameters(Llama1B()));
  EXPECT_EQ(report.base_parameters, 1'235'814'400);
  return 100.0 * count / report.base_parameters;
}

double Percent(const AdapterConfig& config) {
  return Percent(config, CountParameters(config, 0).sum.total());
}

TEST(ParameterReportTest, CountsTheLiteralAdapterOfLlama1B) {
  const AdapterConfig config = Literal();
  const ParameterReport report = CountParameters(config, BaseParameters(Llama1B()));
  ASSERT_EQ(report.layers.size(), 16u);
  const AdapterParameters& layer = report.layers[15];
  EXPECT_EQ(layer.selector, 0);
  EXPECT_EQ(layer.key_compression, 0);
  EXPECT_EQ(layer.value_compression, 8 * (1024 * 1024 + 64 * 1024));
  EXPECT_EQ(layer.positions, 2 * 8 * 16 * 64);
  EXPECT_EQ(layer.combiner, 3 * 32 * 2048 + 3 * 32);
  EXPECT_EQ(report.sum.total(), 16 * layer.total());
  EXPECT_EQ(report.sum.total(), 146'015'744);
  EXPECT_NEAR(Percent(config), 11.8, 0.05);
}

TEST(ParameterReportTest, CountsItsSmallerForms) {
  AdapterConfig half = Literal();
  half.expand_factor = 0.5;
  EXPECT_EQ(CountParameters(half, 0).sum.total(), 74'712'576);
  EXPECT_NEAR(Percent(half), 6.05, 0.01);
  AdapterConfig shared = Literal();
  shared.shared_compression = true;
  EXPECT_EQ(CountParameters(shared, 0).sum.total(), 21'235'200);
  EXPECT_NEAR(Percent(shared), 1.72, 0.01);
  EXPECT_NEAR(Percent(shared, CountParameters(shared, 0).sum.value_compression), 1.44, 0.01);
  AdapterConfig short_blocks = Literal();
  short_blocks.compression_block = 8;
  EXPECT_EQ(CountParameters(short_blocks, 0).sum.total(), 41'027'072);
  EXPECT_NEAR(Percent(short_blocks), 3.32, 0.01);
  EXPECT_NEAR(Percent(short_blocks, CountParameters(short_blocks, 0).sum.value_compression), 3.05,
              0.01);
}

TEST(ParameterReportTest, DenseLayersHaveNone) {
  AdapterConfig config = AdapterConfigFor(Llama1B());
  config.dense_layers = {0, 1};
  const ParameterReport report = CountParameters(config, 0);
  EXPECT_EQ(report.layers[0].total(), 0);
  EXPECT_EQ(report.layers[2].selector, 2 * 8 * 64 * 16);
  EXPECT_EQ(report.layers[2].key_compression, 8 * 64 + 32 * 64 + 32);
  EXPECT_EQ(report.layers[2].combiner, 32 * 2048 + 32);
  EXPECT_EQ(report.sum.total(), 14 * report.layers[2].total());
}

// What is counted is what there is.
TEST(ParameterReportTest, CountsEveryTensor) {
  AdapterConfig config = Literal();
  config.hidden_size = 16;
  config.num_layers = 2;
  config.head_dim = 8;
  for (const Selector selector : {Selector::kIndex, Selector::kGate, Selector::kMean}) {
    config.selector = selector;
    config.index_rank = 4;
    int64_t values = 0;
    const Adapter adapter = RandomAdapter(config, 1);
    for (const AdapterTensor& tensor : AdapterTensors(config)) {
      for (const AdapterLayer& layer : adapter.layers) values += (layer.*tensor.values).size();
    }
    EXPECT_EQ(CountParameters(config, 0).sum.total(), values);
  }
}

TEST(ParameterReportTest, PrintsAlikeLayersOnce) {
  AdapterConfig config = Literal();
  config.dense_layers = {0};
  const std::string known = FormatParameterReport(CountParameters(config, 1'235'814'400));
  EXPECT_NE(known.find("\n0 "), std::string::npos) << known;
  EXPECT_NE(known.find("\n1-15 "), std::string::npos) << known;
  EXPECT_NE(known.find("\nall "), std::string::npos) << known;
  EXPECT_NE(known.find("% of base"), std::string::npos) << known;
  EXPECT_EQ(FormatParameterReport(CountParameters(config, 0)).find('%'), std::string::npos);
}

}  // namespace
}  // namespace sieve
