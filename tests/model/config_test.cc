#include "model/config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <string>

namespace sieve {
namespace {

ModelConfig Valid() {
  ModelConfig config;
  config.hidden_size = 64;
  config.intermediate_size = 128;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.vocabulary_size = 300;
  config.context_length = 512;
  return config;
}

void ExpectInvalid(const ModelConfig& config, const std::string& part) {
  const absl::Status status = ValidateConfig(config);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << part;
  EXPECT_NE(std::string(status.message()).find(part), std::string::npos) << status;
}

TEST(ValidateConfigTest, AcceptsOrdinaryShapes) {
  EXPECT_TRUE(ValidateConfig(Valid()).ok());
  ModelConfig llama405b = Valid();
  llama405b.hidden_size = 16384;
  llama405b.intermediate_size = 53248;
  llama405b.num_layers = 126;
  llama405b.num_heads = 128;
  llama405b.num_kv_heads = 8;
  llama405b.head_dim = 128;
  llama405b.vocabulary_size = 128256;
  llama405b.context_length = 131072;
  EXPECT_TRUE(ValidateConfig(llama405b).ok());
}

TEST(ValidateConfigTest, NamesTheFieldOutOfRange) {
  const std::pair<int64_t ModelConfig::*, const char*> fields[] = {
      {&ModelConfig::hidden_size, "hidden size"},
      {&ModelConfig::intermediate_size, "intermediate size"},
      {&ModelConfig::num_layers, "number of layers"},
      {&ModelConfig::num_heads, "number of attention heads"},
      {&ModelConfig::num_kv_heads, "number of key/value heads"},
      {&ModelConfig::head_dim, "head dimension"},
      {&ModelConfig::vocabulary_size, "vocabulary size"},
      {&ModelConfig::context_length, "context length"},
  };
  for (const auto& [field, name] : fields) {
    for (const int64_t value : {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::max(),
                                std::numeric_limits<int64_t>::min()}) {
      ModelConfig config = Valid();
      config.*field = value;
      ExpectInvalid(config, name);
    }
  }
  ModelConfig layers = Valid();
  layers.num_layers = 10001;
  ExpectInvalid(layers, "number of layers is 10001");
}

TEST(ValidateConfigTest, RefusesContradictions) {
  ModelConfig heads = Valid();
  heads.num_kv_heads = 3;
  ExpectInvalid(heads, "4 attention heads do not divide into 3");
  ModelConfig more_kv = Valid();
  more_kv.num_kv_heads = 8;
  ExpectInvalid(more_kv, "key/value heads is 8");
  ModelConfig odd = Valid();
  odd.head_dim = 15;
  ExpectInvalid(odd, "head dimension 15 is odd");
  ModelConfig divisors = Valid();
  divisors.rope_frequency_divisors.assign(7, 1.0f);
  ExpectInvalid(divisors, "7 rope frequency divisors");
  divisors.rope_frequency_divisors.assign(8, 1.0f);
  EXPECT_TRUE(ValidateConfig(divisors).ok());
  divisors.rope_frequency_divisors[3] = 0;
  ExpectInvalid(divisors, "rope frequency divisor is 0");
}

TEST(ValidateConfigTest, RefusesNumbersThatAreNotPositive) {
  for (const double value : {0.0, -1.0, std::numeric_limits<double>::infinity(), std::nan("")}) {
    ModelConfig epsilon = Valid();
    epsilon.rms_norm_epsilon = value;
    ExpectInvalid(epsilon, "rms norm epsilon");
    ModelConfig theta = Valid();
    theta.rope_theta = value;
    ExpectInvalid(theta, "rope theta");
    ModelConfig factor = Valid();
    factor.rope_scaling.kind = RopeScaling::Kind::kLinear;
    factor.rope_scaling.factor = value;
    ExpectInvalid(factor, "rope scaling factor");
  }
  ModelConfig llama3 = Valid();
  llama3.rope_scaling = {RopeScaling::Kind::kLlama3, 8, 1, 4, 64};
  EXPECT_TRUE(ValidateConfig(llama3).ok());
  llama3.rope_scaling.original_context_length = 0;
  ExpectInvalid(llama3, "original context length");
  llama3.rope_scaling = {RopeScaling::Kind::kLlama3, 8, 4, 4, 64};
  ExpectInvalid(llama3, "high_freq_factor is not above low_freq_factor");
}

TEST(RopeFrequenciesTest, PlainAndLinear) {
  ModelConfig config = Valid();
  const std::vector<double> plain = RopeFrequencies(config);
  ASSERT_EQ(plain.size(), 8u);
  EXPECT_EQ(plain[0], 1);
  EXPECT_NEAR(plain[4], 0.01, 1e-15);  // 10000^(-8/16)
  config.rope_scaling = {.kind = RopeScaling::Kind::kLinear, .factor = 4};
  EXPECT_NEAR(RopeFrequencies(config)[4], 0.0025, 1e-15);
}

TEST(RopeFrequenciesTest, Llama3LeavesShortWavelengthsAndSlowsLongOnes) {
  ModelConfig config = Valid();
  config.head_dim = 64;
  const std::vector<double> plain = RopeFrequencies(config);
  config.rope_scaling = {RopeScaling::Kind::kLlama3, 8, 1, 4, 256};
  const std::vector<double> scaled = RopeFrequencies(config);
  int kept = 0, slowed = 0, blended = 0;
  for (size_t i = 0; i < plain.size(); ++i) {
    const double wavelength = 2 * std::numbers::pi / plain[i];
    if (wavelength < 256.0 / 4) {
      EXPECT_EQ(scaled[i], plain[i]);
      ++kept;
    } else if (wavelength > 256.0) {
      EXPECT_DOUBLE_EQ(scaled[i], plain[i] / 8);
      ++slowed;
    } else {
      EXPECT_LT(scaled[i], plain[i]);
      EXPECT_GT(scaled[i], plain[i] / 8);
      ++blended;
    }
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(slowed, 0);
  EXPECT_GT(blended, 0);
}

TEST(RopeFrequenciesTest, DivisorsReplaceScaling) {
  ModelConfig config = Valid();
  const std::vector<double> plain = RopeFrequencies(config);
  config.rope_scaling = {.kind = RopeScaling::Kind::kLinear, .factor = 4};
  config.rope_frequency_divisors = {1, 1, 1, 1, 2, 2, 8, 8};
  const std::vector<double> divided = RopeFrequencies(config);
  EXPECT_EQ(divided[0], plain[0]);
  EXPECT_EQ(divided[4], plain[4] / 2);
  EXPECT_EQ(divided[7], plain[7] / 8);
}

}  // namespace
}  // namespace sieve
