// SmolLM2 against Hugging Face transformers on the same, dequantised weights; see make_goldens.py.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "tests/model/parity/golden.h"
#include "tests/model/parity/parity_model.h"

namespace sieve {
namespace {

using nlohmann::json;

class SmolLm2Test : public testing::Test {
 protected:
  void SetUp() override {
    const char* cache = std::getenv("SIEVE_CACHE");
    if (cache == nullptr) GTEST_SKIP() << "SIEVE_CACHE is not set";
    golden_ = ReadGolden("smollm2.json");
    path_ = std::string(cache) + "/models/" + golden_["model"].get<std::string>();
  }

  json golden_;
  std::string path_;
};

TEST_F(SmolLm2Test, LogitsEqualThoseOfTransformers) {
  double greatest = 0;
  for (const json& sequence : golden_["logits"]) {
    const TokenIds tokens = sequence["tokens"];
    auto model = ParityModel::Open(path_, 1, static_cast<int64_t>(tokens.size()));
    ASSERT_TRUE(model.ok()) << model.status();
    TokenIds positions;
    for (const json& row : sequence["rows"]) positions.push_back(row["position"]);
    const auto logits = model->Logits(tokens, positions, 300);
    ASSERT_TRUE(logits.ok()) << logits.status();
    for (size_t i = 0; i < positions.size(); ++i) {
      const float* row = logits->data() + i * model->vocabulary_size();
      const double error = RelativeError(row, model->vocabulary_size(), sequence["rows"][i]);
      EXPECT_LE(error, kLogitTolerance) << sequence["name"] << ", position " << positions[i];
      greatest = std::max(greatest, error);
    }
  }
  std::cout << "greatest relative error " << greatest << std::endl;
}

TEST_F(SmolLm2Test, GreedyTokensAreThoseOfTransformers) {
  const json& sequences = golden_["greedy"];
  ASSERT_EQ(sequences.size(), 20u);
  std::vector<TokenIds> prompts, expected;
  size_t longest = 0;
  for (const json& sequence : sequences) {
    prompts.push_back(sequence["prompt"]);
    expected.push_back(sequence["generated"]);
    ASSERT_EQ(expected.back().size(), 200u);
    longest = std::max(longest, prompts.back().size() + expected.back().size());
  }
  auto model =
      ParityModel::Open(path_, static_cast<int64_t>(prompts.size()), static_cast<int64_t>(longest));
  ASSERT_TRUE(model.ok()) << model.status();
  const auto generated = model->Greedy(prompts, 200);
  ASSERT_TRUE(generated.ok()) << generated.status();
  for (size_t i = 0; i < prompts.size(); ++i) {
    const TokenIds& actual = (*generated)[i];
    const auto [at, _] = std::mismatch(actual.begin(), actual.end(), expected[i].begin());
    EXPECT_TRUE(at == actual.end())
        << sequences[i]["name"] << " differs at token " << at - actual.begin()
        << "; smallest relative gap of the reference " << sequences[i]["smallest_gap"];
  }
}

}  // namespace
}  // namespace sieve
