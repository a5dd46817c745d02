// The CUDA engine in bf16 against float32 logits of Hugging Face transformers: it is to be no
// farther from them than transformers' own bf16; see make_bf16_goldens.py.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "model/cache/geometry.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/random_checkpoint.h"
#include "model/cuda/cuda_transformer.h"
#include "tests/model/parity/golden.h"

namespace sieve {
namespace {

using nlohmann::json;
using TokenIds = std::vector<int32_t>;

// Of a row's probability: what is rounded off may be more than what is left.
constexpr double kLeastRest = 1e-6;

double LogSumExp(const float* row, int64_t size) {
  const double max = *std::max_element(row, row + size);
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += std::exp(row[i] - max);
  return max + std::log(sum);
}

// Of rows of logits from golden ones.
class Deviation {
 public:
  void Add(const float* row, int64_t size, const json& golden) {
    const TokenIds ids = golden["ids"];
    const std::vector<double> values = golden["values"];
    const double log_sum = LogSumExp(row, size), golden_log_sum = golden["log_sum"];
    double divergence = 0, rest = 1, golden_rest = 1;
    for (size_t i = 0; i < ids.size(); ++i) {
      const double difference = std::abs(row[ids[i]] - values[i]);
      // A difference that is not a number must not pass for none.
      max = std::isnan(difference) ? INFINITY : std::max(max, difference);
      total_ += difference;
      ++count_;
      const double log_q = row[ids[i]] - log_sum, log_p = values[i] - golden_log_sum;
      divergence += std::exp(log_p) * (log_p - log_q);
      rest -= std::exp(log_q);
      golden_rest -= std::exp(log_p);
    }
    rest = std::max(rest, kLeastRest);
    golden_rest = std::max(golden_rest, kLeastRest);
    total_kl_ += divergence + golden_rest * std::log(golden_rest / rest);
    const auto top = static_cast<int32_t>(std::max_element(row, row + size) - row);
    same_top += top == ids[0];
    const auto at = std::find(ids.begin(), ids.end(), top);
    top_loss =
        at == ids.end() ? INFINITY : std::max(top_loss, values[0] - values[at - ids.begin()]);
    ++rows;
  }

  double mean() const { return total_ / count_; }
  double kl() const { return total_kl_ / rows; }

  double max = 0;
  int64_t rows = 0, same_top = 0;
  double top_loss = 0;  // by golden logits, of the greatest one against the golden greatest

 private:
  double total_ = 0, total_kl_ = 0;
  int64_t count_ = 0;
};

// All of a case's rows of logits, from one step.
absl::StatusOr<std::vector<float>> Logits(const Checkpoint& checkpoint, const json& golden) {
  const TokenIds tokens = golden["tokens"];
  const auto count = static_cast<int64_t>(tokens.size());
  TokenIds rows;
  for (const json& row : golden["rows"]) rows.push_back(row["position"]);
  const int64_t pages = (count + kPageTokens - 1) / kPageTokens;
  absl::StatusOr<std::unique_ptr<Transformer>> model =
      CreateCudaTransformer(checkpoint.config(), checkpoint.weights(),
                            {.dtype = DType::kBF16,
                             .cache_pages = pages,
                             .max_step_tokens = count,
                             .max_sequences = static_cast<int64_t>(rows.size()),
                             .max_context_tokens = count});
  if (!model.ok()) return model.status();
  TokenIds positions(count), table(pages);
  std::iota(positions.begin(), positions.end(), 0);
  std::iota(table.begin(), table.end(), 0);
  const TokenIds offsets = {0, static_cast<int32_t>(count)};
  std::vector<float> logits(rows.size() * (*model)->vocabulary_size());
  const absl::Status status = (*model)->Forward({.tokens = tokens,
                                                 .positions = positions,
                                                 .offsets = offsets,
                                                 .block_tables = table,
                                                 .block_table_stride = pages,
                                                 .logit_rows = rows},
                                                absl::MakeSpan(logits));
  if (!status.ok()) return status;
  return logits;
}

void ExpectNoWorseThanTransformers(const Checkpoint& checkpoint, const json& golden) {
  const absl::StatusOr<std::vector<float>> logits = Logits(checkpoint, golden);
  ASSERT_TRUE(logits.ok()) << logits.status();
  const auto size = static_cast<int64_t>(logits->size() / golden["rows"].size());
  Deviation deviation;
  for (const json& row : golden["rows"]) {
    deviation.Add(logits->data() + deviation.rows * size, size, row);
  }
  std::cout << "max " << deviation.max << " mean " << deviation.mean() << " kl " << deviation.kl()
            << " same_top " << deviation.same_top << " of " << deviation.rows << ", loss "
            << deviation.top_loss << "; transformers in bf16: " << golden["deviation"] << std::endl;
  EXPECT_LE(deviation.max, golden["deviation"]["max"]);
  EXPECT_LE(deviation.mean(), golden["deviation"]["mean"]);
  EXPECT_LE(deviation.kl(), golden["deviation"]["kl"]);
  // Two that are so close may change places.
  EXPECT_LE(deviation.top_loss, golden["deviation"]["mean"]);
}

const json& Case(size_t index) {
  static const auto* goldens = new json(ReadGolden("bf16.json"));
  return (*goldens)["cases"][index];
}

TEST(Bf16Test, SmolLm2IsNoWorseThanTransformers) {
  const char* cache = std::getenv("SIEVE_CACHE");
  if (cache == nullptr) GTEST_SKIP() << "SIEVE_CACHE is not set";
  const json& golden = Case(0);
  auto checkpoint =
      OpenCheckpoint(std::string(cache) + "/models/" + golden["model"].get<std::string>());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  ExpectNoWorseThanTransformers(**checkpoint, golden);
}

TEST(Bf16Test, ARandomLlamaIsNoWorseThanTransformers) {
  const json& golden = Case(1);
  auto checkpoint = OpenRandomCheckpoint(golden["config"], {});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  ExpectNoWorseThanTransformers(**checkpoint, golden);
}

}  // namespace
}  // namespace sieve
