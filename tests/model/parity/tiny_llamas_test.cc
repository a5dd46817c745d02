// Random small Llamas of many shapes against Hugging Face transformers; see make_goldens.py.

#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>

#include "tests/model/parity/golden.h"
#include "tests/model/parity/parity_model.h"
#include "tests/testdata/tiny_llama.h"

namespace sieve {
namespace {

using nlohmann::json;

RopeScaling ScalingOf(const json& scaling) {
  if (scaling.is_null()) return {};
  if (scaling["rope_type"] == "linear") {
    RopeScaling linear;
    linear.kind = RopeScaling::Kind::kLinear;
    linear.factor = scaling["factor"];
    return linear;
  }
  return {.kind = RopeScaling::Kind::kLlama3,
          .factor = scaling["factor"],
          .low_freq_factor = scaling["low_freq_factor"],
          .high_freq_factor = scaling["high_freq_factor"],
          .original_context_length = scaling["original_max_position_embeddings"]};
}

TinyLlamaSpec SpecOf(const json& spec) {
  TinyLlamaSpec result;
  result.seed = spec["seed"];
  result.hidden_size = spec["hidden_size"];
  result.intermediate_size = spec["intermediate_size"];
  result.num_layers = spec["num_layers"];
  result.num_heads = spec["num_heads"];
  result.num_kv_heads = spec["num_kv_heads"];
  result.head_dim = spec["head_dim"];
  result.vocabulary_size = spec["vocabulary_size"];
  result.context_length = spec["context_length"];
  result.rope_theta = spec["rope_theta"];
  result.rope_scaling = ScalingOf(spec["rope_scaling"]);
  result.tied = spec["tied"];
  result.attention_bias = spec["attention_bias"];
  result.mlp_bias = spec["mlp_bias"];
  return result;
}

// The greatest relative error over the golden rows of a case.
double ErrorOf(const std::string& checkpoint, const json& golden, int64_t step_tokens) {
  const TokenIds tokens = golden["tokens"];
  auto model = ParityModel::Open(checkpoint, 1, static_cast<int64_t>(tokens.size()));
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return INFINITY;
  TokenIds positions;
  for (const json& row : golden["rows"]) positions.push_back(row["position"]);
  const auto logits = model->Logits(tokens, positions, step_tokens);
  EXPECT_TRUE(logits.ok()) << logits.status();
  if (!logits.ok()) return INFINITY;
  double error = 0;
  for (size_t i = 0; i < positions.size(); ++i) {
    const float* row = logits->data() + i * model->vocabulary_size();
    error = std::max(error, RelativeError(row, model->vocabulary_size(), golden["rows"][i]));
  }
  return error;
}

const json& Goldens() {
  static const auto* goldens = new json(ReadGolden("tiny_llamas.json"));
  return (*goldens)["cases"];
}

class TinyLlamasTest : public testing::TestWithParam<int> {};

TEST_P(TinyLlamasTest, LogitsEqualThoseOfTransformers) {
  const json& golden = Goldens()[GetParam()];
  const TinyLlamaSpec spec = SpecOf(golden["spec"]);
  const std::string path = testing::TempDir() + "/" + golden["name"].get<std::string>();
  ASSERT_TRUE(WriteTinyHfFolder(path, spec).ok());
  ASSERT_TRUE(WriteTinyGguf(path + ".gguf", spec).ok());
  const double folder_error = ErrorOf(path, golden, 1000);
  const double gguf_error = ErrorOf(path + ".gguf", golden, 37);
  std::cout << "relative error " << folder_error << " (folder, one step), " << gguf_error
            << " (GGUF, steps of 37)" << std::endl;
  EXPECT_LE(folder_error, kLogitTolerance);
  EXPECT_LE(gguf_error, kLogitTolerance);
}

INSTANTIATE_TEST_SUITE_P(Shapes, TinyLlamasTest,
                         testing::Range(0, static_cast<int>(Goldens().size())),
                         [](const auto& info) { return Goldens()[info.param]["name"]; });

}  // namespace
}  // namespace sieve
