// Steps of the CPU model with adapters: what a sequence gets depends on itself alone.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "model/checkpoint/checkpoint.h"
#include "model/transformer.h"
#include "tests/kernels/random_data.h"
#include "tests/model/adapter_model.h"
#include "tests/testdata/tiny_llama.h"

namespace sieve {
namespace {

constexpr int64_t kSummaryBytes = 2048;

AdapterModel Model(DType cache_type = DType::kF32, int threads = 2) {
  const std::string path = testing::TempDir() + "/model.gguf";
  TinyLlamaSpec spec;
  spec.num_layers = 3;
  EXPECT_TRUE(WriteTinyGguf(path, spec).ok());
  std::unique_ptr<Checkpoint> checkpoint = *OpenCheckpoint(path);
  auto model = Transformer::Create(checkpoint->config(), checkpoint->weights(),
                                   {.num_threads = threads,
                                    .cache_pages = 64,
                                    .cache_dtype = cache_type,
                                    .summary_bytes = kSummaryBytes});
  EXPECT_TRUE(model.ok()) << model.status();
  return AdapterModel(std::move(checkpoint), *std::move(model));
}

class AdapterSteps : public testing::TestWithParam<Selector> {};
INSTANTIATE_TEST_SUITE_P(Selectors, AdapterSteps,
                         testing::Values(Selector::kIndex, Selector::kGate, Selector::kCompressed,
                                         Selector::kQuestMean, Selector::kOracle));

TEST_P(AdapterSteps, DecodingIsTheOneShotPass) {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    std::mt19937_64 random(TestSeed());
    AdapterModel model = Model(type);
    model.Load(3, random, SmallAdapter(GetParam()));
    const auto tokens = model.Tokens(random, 520);
    const auto whole = model.Step({{&tokens, Pages(0, 9), 0, 520, 3}});
    for (const float l : whole) ASSERT_TRUE(std::isfinite(l));
    const auto prefill = model.Step({{&tokens, Pages(20, 9), 0, 300, 3}});
    EXPECT_TRUE(Same(whole, 0, prefill, model.vocabulary()));
    for (int64_t t = 300; t < 520; ++t) {
      const auto one = model.Step({{&tokens, Pages(20, 9), t, t + 1, 3}});
      ASSERT_TRUE(Same(whole, t, one, model.vocabulary())) << InfoOf(type).name << " at " << t;
    }
  }
}

TEST_P(AdapterSteps, MatterWhereTheContextIsLong) {
  std::mt19937_64 random(TestSeed());
  AdapterModel model = Model();
  model.Load(0, random, SmallAdapter(GetParam()));
  const auto tokens = model.Tokens(random, 520);
  const auto dense = model.Step({{&tokens, Pages(0, 9), 0, 520}});
  const auto sparse = model.Step({{&tokens, Pages(10, 9), 0, 520, 0}});
  // Sink, window, two selected and the token's own block.
  const int64_t same = 5 * 64;
  EXPECT_EQ(0, std::memcmp(dense.data(), sparse.data(), same * model.vocabulary() * sizeof(float)));
  EXPECT_NE(0, std::memcmp(&dense[same * model.vocabulary()], &sparse[same * model.vocabulary()],
                           model.vocabulary() * sizeof(float)));
}

// Other adapters, the bare model, single tokens and borders in one step.
TEST_P(AdapterSteps, CompanyInTheBatchDoesNotShow) {
  std::mt19937_64 random(TestSeed());
  AdapterModel model = Model(DType::kF16);
  model.Load(0, random, SmallAdapter(GetParam()));
  AdapterConfig other = SmallAdapter(Selector::kMean);
  other.dense_layers = {0, 2};
  other.combiner = Combiner::kLiteral;
  model.Load(255, random, other);
  const std::vector<int64_t> lengths = {1, 449, 449, 384, 400, 64, 65};
  const std::vector<int32_t> adapters = {0, 0, -1, 255, 0, 255, 0};
  std::vector<std::vector<int32_t>> tokens;
  std::vector<std::vector<float>> alone;
  for (size_t s = 0; s < lengths.size(); ++s) {
    tokens.push_back(model.Tokens(random, lengths[s]));
    alone.push_back(model.Step({{&tokens[s], Pages(0, 8), 0, lengths[s], adapters[s]}}));
  }
  // All but the last few tokens of each, then the rest.
  std::vector<AdapterPiece> first, rest;
  for (size_t s = 0; s < lengths.size(); ++s) {
    const auto pages = Pages(static_cast<int32_t>(8 * s), 8);
    const int64_t cut = std::max<int64_t>(0, lengths[s] - 1 - 7 * static_cast<int64_t>(s));
    if (cut > 0) first.push_back({&tokens[s], pages, 0, cut, adapters[s]});
    rest.push_back({&tokens[s], pages, cut, lengths[s], adapters[s]});
  }
  std::shuffle(rest.begin(), rest.end(), random);
  model.Step(first);
  const auto mixed = model.Step(rest);
  int64_t row = 0;
  for (const AdapterPiece& p : rest) {
    const size_t s = p.sequence - tokens.data();
    EXPECT_EQ(0,
              std::memcmp(&mixed[row * model.vocabulary()], &alone[s][p.begin * model.vocabulary()],
                          (p.end - p.begin) * model.vocabulary() * sizeof(float)))
        << "length " << lengths[s] << " adapter " << p.adapter;
    row += p.end - p.begin;
  }
}

TEST_P(AdapterSteps, SharedAndCopiedPagesAreTheSamePast) {
  std::mt19937_64 random(TestSeed());
  AdapterModel model = Model();
  model.Load(1, random, SmallAdapter(GetParam()));
  const auto tokens = model.Tokens(random, 500);
  const auto whole = model.Step({{&tokens, Pages(0, 8), 0, 500, 1}});
  // Six pages are shared, the seventh is copied in its middle, the last is new.
  std::vector<int32_t> pages = Pages(0, 8);
  model->CopyPages({{pages[6], 40}});
  pages[6] = 40;
  pages[7] = 41;
  const auto again = model.Step({{&tokens, pages, 6 * 64 + 20, 500, 1}});
  EXPECT_TRUE(Same(whole, 6 * 64 + 20, again, model.vocabulary()));
  // A copy of complete pages, read only.
  std::vector<PageCopy> copies;
  for (int32_t i = 0; i < 8; ++i) copies.push_back({i, 50 + i});
  model->CopyPages(copies);
  const auto last = model.Step({{&tokens, Pages(50, 8), 499, 500, 1}});
  EXPECT_TRUE(Same(whole, 499, last, model.vocabulary()));
}

TEST(AdapterSlots, TheNumberOfThreadsDoesNotShow) {
  const uint64_t seed = TestSeed();
  std::vector<std::vector<float>> logits;
  for (const int threads : {1, 4}) {
    std::mt19937_64 random(seed);
    AdapterModel model = Model(DType::kF16, threads);
    model.Load(0, random, SmallAdapter(Selector::kIndex));
    const auto tokens = model.Tokens(random, 450);
    logits.push_back(model.Step({{&tokens, Pages(0, 8), 0, 450, 0}}));
  }
  EXPECT_TRUE(Same(logits[0], 0, logits[1], 1));
}

TEST(AdapterSlots, TilesMustBeWhole) {
  std::mt19937_64 random(TestSeed());
  AdapterModel model = Model();
  AdapterConfig config = SmallAdapter(Selector::kMean);
  config.query_tile = 16;
  model.Load(0, random, config);
  const auto tokens = model.Tokens(random, 460);
  std::vector<float> logits;
  const auto step = [&](int64_t begin, int64_t end, int32_t prompt) {
    return model.TryStep({{&tokens, Pages(0, 8), begin, end, 0, prompt}}, &logits);
  };
  EXPECT_TRUE(step(0, 460, 440).ok());
  const std::vector<float> whole = logits;
  EXPECT_TRUE(step(0, 400, 440).ok());
  EXPECT_TRUE(step(400, 437, 440).ok());
  EXPECT_TRUE(Same(whole, 400, logits, model.vocabulary()));
  EXPECT_TRUE(step(437, 460, 440).ok());
  EXPECT_TRUE(Same(whole, 437, logits, model.vocabulary()));
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 399}, {401, 440}}) {
    const absl::Status status = step(begin, end, 440);
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_TRUE(absl::StrContains(status.message(), "cuts a tile of 16 tokens")) << status;
  }
  EXPECT_TRUE(step(401, 440, 0).ok());  // no prompt, no tiles
}

TEST(AdapterSlots, AreCheckedAndEmptied) {
  std::mt19937_64 random(TestSeed());
  AdapterModel model = Model();
  const auto tokens = model.Tokens(random, 4);
  std::vector<float> logits;
  const auto step = [&](int32_t slot) {
    return model.TryStep({{&tokens, Pages(0, 1), 0, 4, slot}}, &logits);
  };
  EXPECT_EQ(step(5).message(), "malformed batch: adapter slot 5 is empty");
  EXPECT_EQ(step(256).message(), "malformed batch: there is no adapter slot 256");
  EXPECT_EQ(step(-2).message(), "malformed batch: there is no adapter slot -2");
  EXPECT_EQ(model->memory().adapters, 0);
  model.Load(5, random, SmallAdapter(Selector::kIndex));
  EXPECT_GT(model->memory().adapters, 0);
  EXPECT_TRUE(step(5).ok());
  EXPECT_TRUE(model->SetAdapter(5, nullptr).ok());
  EXPECT_EQ(model->memory().adapters, 0);
  EXPECT_FALSE(step(5).ok());
  for (const int32_t slot : {-1, 256}) {
    EXPECT_EQ(model->SetAdapter(slot, nullptr).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(AdapterSlots, SummariesMustFit) {
  std::mt19937_64 random(TestSeed());
  AdapterModel model = Model();
  EXPECT_EQ(model->memory().summaries, 64 * 3 * 2 * kSummaryBytes);
  AdapterConfig config = SmallAdapter(Selector::kIndex);
  config.index_rank = 16;
  config.index_bits = 16;
  const absl::Status status = model->SetAdapter(0, model.Random(random, config));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "room for 2048")) << status;
}

}  // namespace
}  // namespace sieve
