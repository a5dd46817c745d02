#include "trainer/eval/variant.h"

#include <gtest/gtest.h>

#include <string>

#include "model/adapter/adapter_file.h"
#include "tests/trainer/tiny_model.h"

namespace sieve {
namespace {

class OpenVariantsTest : public testing::Test {
 protected:
  OpenVariantsTest() : checkpoint_(OpenTinyModel({}, /*gguf=*/true)) {
    AdapterConfig config = TinyAdapterConfig(checkpoint_->config());
    const absl::Status written =
        WriteAdapter(SeededAdapter(config, 3), testing::TempDir() + "/tiny", DType::kF32);
    EXPECT_TRUE(written.ok()) << written;
  }

  absl::StatusOr<std::vector<Variant>> Open(const std::vector<std::string>& adapters,
                                            const std::vector<int64_t>& budgets) {
    return OpenVariants(adapters, budgets, checkpoint_->config(), std::string(64, '0'));
  }

  const std::string dir_ = testing::TempDir() + "/tiny";
  std::unique_ptr<Checkpoint> checkpoint_;
};

TEST_F(OpenVariantsTest, EveryAdapterAtEveryBudget) {
  const auto variants = Open({"a=" + dir_, dir_ + "/"}, {0, 3});
  ASSERT_TRUE(variants.ok()) << variants.status();
  ASSERT_EQ(variants->size(), 4);
  EXPECT_EQ((*variants)[0].name, "a");
  EXPECT_EQ((*variants)[3].name, "tiny");
  EXPECT_EQ((*variants)[3].selected_blocks, 3);
  EXPECT_EQ((*variants)[3].config().selected_blocks, 3);
  EXPECT_EQ((*variants)[0].adapter, (*variants)[1].adapter);
}

TEST_F(OpenVariantsTest, WithoutABudgetItsOwn) {
  const auto variants = Open({dir_}, {});
  ASSERT_TRUE(variants.ok()) << variants.status();
  ASSERT_EQ(variants->size(), 1);
  EXPECT_EQ((*variants)[0].selected_blocks, 2);
}

TEST_F(OpenVariantsTest, Refuses) {
  for (const std::vector<std::string>& adapters :
       {std::vector<std::string>{"a=" + dir_, "a=" + dir_}, {"=" + dir_}, {"a="}, {""}}) {
    EXPECT_EQ(Open(adapters, {}).status().code(), absl::StatusCode::kInvalidArgument)
        << adapters[0];
  }
  EXPECT_FALSE(Open({dir_}, {-1}).ok());
  EXPECT_EQ(Open({dir_ + ".none"}, {}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(OpenVariants({dir_}, {}, checkpoint_->config(), std::string(64, '1')).ok());
}

AdapterConfig FourLayers() {
  AdapterConfig config;
  config.num_layers = 4;
  config.sink_blocks = 1;
  config.window_blocks = 2;
  config.selected_blocks = 1;
  return config;
}

TEST(Density, IsOneWhileAllIsRead) {
  EXPECT_DOUBLE_EQ(Density(FourLayers(), 1), 1);
  // Block 4 has one candidate, which is selected; block 5 the first that leaves one.
  EXPECT_DOUBLE_EQ(Density(FourLayers(), 5 * 64), 1);
  EXPECT_LT(Density(FourLayers(), 5 * 64 + 1), 1);
}

TEST(Density, CountsKeysAndDenseLayers) {
  AdapterConfig config = FourLayers();
  const int64_t tokens = 6 * 64;
  const double causal = tokens * (tokens + 1) / 2;
  const double sparse = 1 - 64.0 * 64 / causal;  // each token of block 5 leaves one block
  EXPECT_NEAR(Density(config, tokens), sparse, 1e-12);
  config.dense_layers = {0, 3};
  EXPECT_NEAR(Density(config, tokens), (1 + sparse) / 2, 1e-12);
}

}  // namespace
}  // namespace sieve
