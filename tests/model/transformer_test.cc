#include "model/transformer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "model/checkpoint/checkpoint.h"
#include "tests/kernels/random_data.h"
#include "tests/testdata/tiny_llama.h"

namespace sieve {
namespace {

TinyLlamaSpec SpecOf(DType dtype) {
  TinyLlamaSpec spec;
  spec.dtype = dtype;
  return spec;
}

// A tiny model on disk and in memory.
class Model {
 public:
  explicit Model(const TinyLlamaSpec& spec, int threads = 2, DType cache_type = DType::kF16) {
    const std::string path = testing::TempDir() + "/model.gguf";
    EXPECT_TRUE(WriteTinyGguf(path, spec).ok());
    auto checkpoint = OpenCheckpoint(path);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    checkpoint_ = *std::move(checkpoint);
    auto model =
        Transformer::Create(checkpoint_->config(), checkpoint_->weights(),
                            {.num_threads = threads, .cache_pages = 32, .cache_dtype = cache_type});
    EXPECT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }
  Transformer* operator->() { return model_.get(); }
  int64_t vocabulary() const { return model_->vocabulary_size(); }

 private:
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Transformer> model_;
};

struct Piece {
  const std::vector<int32_t>* sequence;
  std::vector<int32_t> pages;
  int64_t begin;
  int64_t count;
};

// One step; the logits of every token, [tokens, vocabulary].
std::vector<float> Step(Model& model, const std::vector<Piece>& pieces) {
  constexpr int64_t kStride = 8;
  std::vector<int32_t> tokens, positions, offsets = {0}, tables, rows;
  for (const Piece& p : pieces) {
    for (int64_t i = p.begin; i < p.begin + p.count; ++i) {
      rows.push_back(static_cast<int32_t>(tokens.size()));
      tokens.push_back((*p.sequence)[i]);
      positions.push_back(static_cast<int32_t>(i));
    }
    offsets.push_back(static_cast<int32_t>(tokens.size()));
    std::vector<int32_t> table = p.pages;
    table.resize(kStride, -1);
    tables.insert(tables.end(), table.begin(), table.end());
  }
  std::vector<float> logits(rows.size() * model.vocabulary(), std::nanf(""));
  const absl::Status status = model->Forward({.tokens = tokens,
                                              .positions = positions,
                                              .offsets = offsets,
                                              .block_tables = tables,
                                              .block_table_stride = kStride,
                                              .logit_rows = rows},
                                             absl::MakeSpan(logits));
  EXPECT_TRUE(status.ok()) << status;
  return logits;
}

std::vector<int32_t> RandomTokens(std::mt19937_64& random, int64_t count, int64_t vocabulary) {
  std::vector<int32_t> tokens(count);
  for (int32_t& t : tokens) t = static_cast<int32_t>(random() % vocabulary);
  return tokens;
}

bool Same(const std::vector<float>& a, int64_t from, const std::vector<float>& b) {
  return std::memcmp(a.data() + from, b.data(), b.size() * sizeof(float)) == 0;
}

class TransformerTest : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(WeightTypes, TransformerTest,
                         testing::Values(DType::kF32, DType::kBF16, DType::kQ4_1, DType::kQ8_0),
                         [](const auto& info) { return InfoOf(info.param).name; });

// Chunked prefill and single-token decoding give the bits of one large step.
TEST_P(TransformerTest, TheCutIntoStepsDoesNotShow) {
  std::mt19937_64 random(TestSeed());
  Model model(SpecOf(GetParam()));
  const std::vector<int32_t> sequence = RandomTokens(random, 150, model.vocabulary());
  const std::vector<float> whole = Step(model, {{&sequence, {3, 0, 7}, 0, 150}});
  for (int64_t chunk : {1, 5, 16, 63, 64, 65, 149}) {
    for (int64_t p = 0; p < 150; p += chunk) {
      const int64_t count = std::min<int64_t>(chunk, 150 - p);
      const std::vector<float> part = Step(model, {{&sequence, {9, 11, 10}, p, count}});
      ASSERT_TRUE(Same(whole, p * model.vocabulary(), part)) << "chunk " << chunk << " at " << p;
    }
  }
}

TEST_P(TransformerTest, CompanyInTheBatchDoesNotShow) {
  std::mt19937_64 random(TestSeed());
  Model model(SpecOf(GetParam()));
  const auto a = RandomTokens(random, 70, model.vocabulary());
  const auto b = RandomTokens(random, 130, model.vocabulary());
  const auto c = RandomTokens(random, 9, model.vocabulary());
  const auto alone_a = Step(model, {{&a, {0, 1}, 0, 70}});
  const auto alone_b = Step(model, {{&b, {2, 3, 4}, 0, 130}});
  const auto alone_c = Step(model, {{&c, {5}, 0, 9}});
  Step(model, {{&a, {10, 11}, 0, 66}, {&b, {12, 13, 14}, 0, 64}});
  const auto mixed =
      Step(model, {{&a, {10, 11}, 66, 4}, {&c, {15}, 0, 9}, {&b, {12, 13, 14}, 64, 66}});
  const int64_t v = model.vocabulary();
  EXPECT_EQ(0, std::memcmp(&mixed[0], &alone_a[66 * v], 4 * v * sizeof(float)));
  EXPECT_EQ(0, std::memcmp(&mixed[4 * v], &alone_c[0], 9 * v * sizeof(float)));
  EXPECT_EQ(0, std::memcmp(&mixed[13 * v], &alone_b[64 * v], 66 * v * sizeof(float)));
}

TEST(Transformer, TheNumberOfThreadsDoesNotShow) {
  std::mt19937_64 random(TestSeed());
  Model one({}, 1), four({}, 4);
  const auto tokens = RandomTokens(random, 100, one.vocabulary());
  EXPECT_TRUE(
      Same(Step(one, {{&tokens, {0, 1}, 0, 100}}), 0, Step(four, {{&tokens, {0, 1}, 0, 100}})));
}

TEST(Transformer, CopiedPagesAreTheSamePast) {
  std::mt19937_64 random(TestSeed());
  Model model({});
  const auto tokens = RandomTokens(random, 80, model.vocabulary());
  const auto whole = Step(model, {{&tokens, {0, 1}, 0, 80}});
  Step(model, {{&tokens, {2, 3}, 0, 79}});
  model->CopyPages({{2, 20}, {3, 21}});
  const auto last = Step(model, {{&tokens, {20, 21}, 79, 1}});
  EXPECT_TRUE(Same(whole, 79 * model.vocabulary(), last));
}

TEST(Transformer, CacheTypesAgree) {
  std::mt19937_64 random(TestSeed());
  Model f32({}, 2, DType::kF32), f16({}, 2, DType::kF16), bf16({}, 2, DType::kBF16);
  const auto tokens = RandomTokens(random, 90, f32.vocabulary());
  const auto exact = Step(f32, {{&tokens, {0, 1}, 0, 90}});
  EXPECT_LT(RelativeError(Step(f16, {{&tokens, {0, 1}, 0, 90}}), exact), 2e-3);
  EXPECT_LT(RelativeError(Step(bf16, {{&tokens, {0, 1}, 0, 90}}), exact), 2e-2);
}

TEST(Transformer, MemoryIsAccounted) {
  Model model({});
  EXPECT_EQ(model->memory().cache, 32 * model->geometry().BytesPerPage());
  EXPECT_EQ(model->geometry().BytesPerPage(), 2 * 2 * 2 * 64 * 16 * 2);
  EXPECT_GT(model->memory().weights, 0);
}

// For ThreadSanitizer: a scrape while steps make the buffers grow.
TEST(Transformer, MemoryIsReadDuringSteps) {
  std::mt19937_64 random(TestSeed());
  Model model({});
  const auto tokens = RandomTokens(random, 60, model.vocabulary());
  std::atomic<bool> done = false;
  std::thread scrape([&] {
    int64_t last = 0;
    while (!done) {
      const int64_t now = model->memory().workspace;
      EXPECT_GE(now, last);
      last = now;
    }
  });
  for (int64_t count = 1; count <= 60; ++count) Step(model, {{&tokens, {0}, 0, count}});
  done = true;
  scrape.join();
  EXPECT_GT(model->memory().workspace, 0);
}

class BadBatch : public testing::Test {
 protected:
  void ExpectRefused(const Batch& batch, absl::string_view why) {
    std::vector<float> logits(batch.logit_rows.size() * model_.vocabulary());
    const absl::Status status = model_->Forward(batch, absl::MakeSpan(logits));
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_TRUE(absl::StrContains(status.message(), why)) << status;
  }
  Model model_{TinyLlamaSpec{}};
  const std::vector<int32_t> two = {1, 2}, positions = {0, 1}, offsets = {0, 2}, table = {0},
                             no_rows;
};

TEST_F(BadBatch, IsRefusedWithAReason) {
  const Batch good = {two, positions, offsets, table, 1, no_rows};
  std::vector<float> none;
  EXPECT_TRUE(model_->Forward(good, absl::MakeSpan(none)).ok());
  const std::vector<int32_t> bad_token = {1, 100000}, gap = {0, 2}, far = {63, 64}, bad_page = {32},
                             negative_page = {-1}, bad_offsets = {0, 1}, bad_row = {2};
  Batch b = good;
  b.tokens = bad_token;
  ExpectRefused(b, "vocabulary");
  b = good, b.positions = gap;
  ExpectRefused(b, "consecutive");
  b = good, b.positions = far;
  ExpectRefused(b, "needs 2 pages");
  b = good, b.block_tables = bad_page;
  ExpectRefused(b, "page 32");
  b = good, b.block_tables = negative_page;
  ExpectRefused(b, "page -1");
  b = good, b.offsets = bad_offsets;
  ExpectRefused(b, "offsets");
  b = good, b.logit_rows = bad_row;
  ExpectRefused(b, "no token 2");
}

TEST(Transformer, RefusesWhatItCannotDo) {
  const std::string path = testing::TempDir() + "/refused.gguf";
  ASSERT_TRUE(WriteTinyGguf(path, {}).ok());
  auto checkpoint = OpenCheckpoint(path);
  ASSERT_TRUE(checkpoint.ok());
  const auto create = [&](TransformerOptions options) {
    return Transformer::Create((*checkpoint)->config(), (*checkpoint)->weights(), options).status();
  };
  EXPECT_EQ(create({.cache_pages = 0}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(create({.cache_pages = 1, .cache_dtype = DType::kQ8_0}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(create({.num_threads = -1, .cache_pages = 1}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(create({.cache_pages = (int64_t{1} << 31) - 1, .summary_bytes = 1 << 20}).code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace sieve
