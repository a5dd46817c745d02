// The kernels that write and read summaries of blocks.

#include "kernels/block_summary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <tuple>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/block_compress.h"
#include "kernels/block_scores.h"
#include "kernels/cache_elements.h"
#include "kernels/compressed_attention.h"
#include "kernels/merge.h"
#include "tests/kernels/cached_sequence.h"
#include "tests/kernels/random_data.h"

namespace sieve {
namespace {

constexpr int64_t kRank = 5;

// All parts.
SummaryLayout LayoutOf(DType dtype, int64_t head_dim, int64_t entries, int64_t index_bits) {
  SummaryLayout l = {.dtype = dtype,
                     .head_dim = head_dim,
                     .index_rank = kRank,
                     .index_bits = index_bits,
                     .entries = entries};
  const auto add = [&l](int64_t bytes) {
    const int64_t start = l.bytes;
    l.bytes += (bytes + kSummaryAlignment - 1) / kSummaryAlignment * kSummaryAlignment;
    return start;
  };
  const int64_t row = RowBytes(dtype, head_dim);
  for (int64_t* part : {&l.mean, &l.max, &l.min, &l.gate}) *part = add(row);
  l.index_lo = add(kRank * 4), l.index_step = add(kRank * 4);
  l.index_codes = add(index_bits == 4 ? kRank * 32 : RowBytes(dtype, kRank * 64));
  l.entry_keys = add(entries * row), l.entry_values = add(entries * row);
  l.entry_biases = add(entries * 4);
  return l;
}

// The summaries of a sequence of complete blocks, one key/value head, every kind of entry.
struct Summaries {
  Summaries(std::mt19937_64& random, const SummaryLayout& summary_layout, int64_t blocks,
            bool reference = false)
      : layout(summary_layout),
        cache(random, layout.dtype, 1, layout.head_dim, blocks * 64),
        memory(cache.pages * layout.bytes, static_cast<char>(0xff)),
        view{memory.data(), layout.bytes, layout.bytes} {
    const int64_t d = layout.head_dim, l = 64 / layout.entries, inner = d;
    const auto index = RandomFloats(random, d * kRank), gate = RandomFloats(random, d * 3 * d);
    const auto tilt = RandomFloats(random, d), position = RandomFloats(random, l * d);
    const auto up = RandomFloats(random, inner * l * d, 0.1f);
    const auto down = RandomFloats(random, d * inner, 0.1f);
    const auto angles = RandomFloats(random, 64 * d);
    AlignedBuffer scratch;
    EXPECT_TRUE(scratch.Reserve(BlockCompressScratchFloats(layout, inner)));
    for (int64_t b = 0; b < blocks; ++b) {
      const BlockCompressParams params = {
          .kv = cache.view,
          .page = cache.table[b],
          .layout = layout,
          .summary = view.of(cache.table[b], 0),
          .index_k = index.data(),
          .gate_k = gate.data(),
          .cosines = angles.data(),
          .sines = angles.data() + 32 * d,
          .tilt = b % 2 == 0 ? tilt.data() : nullptr,
          .keys = {.max = b % 3 == 0, .position = position.data()},
          .values = {
              .position = position.data(), .up = up.data(), .down = down.data(), .inner = inner}};
      // Blocks without a tilt keep no bias.
      std::memset(params.summary + layout.entry_biases, 0, layout.entries * sizeof(float));
      if (reference) {
        CompressBlockReference(params, scratch.data());
      } else {
        CompressBlock(params, scratch.data());
      }
    }
  }

  float Value(int64_t block, int64_t part, int64_t i) const {
    return LoadElement(view.of(cache.table[block], 0) + part, layout.dtype, i);
  }
  float Key(int64_t block, int64_t token, int64_t i) const {
    return LoadElement(cache.view.keys(cache.table[block], 0), layout.dtype, i * 64 + token);
  }

  SummaryLayout layout;
  CachedSequence cache;
  std::vector<char> memory;
  SummaryView view;
};

// Type, head dimension, entries, bits of the index.
class BlockSummaryTest
    : public testing::TestWithParam<std::tuple<DType, int64_t, int64_t, int64_t>> {
 protected:
  SummaryLayout layout() const {
    const auto [dtype, head_dim, entries, bits] = GetParam();
    return LayoutOf(dtype, head_dim, entries, bits);
  }
  double tolerance() const { return layout().dtype == DType::kF32 ? 1e-5 : 1e-2; }
};
INSTANTIATE_TEST_SUITE_P(Shapes, BlockSummaryTest,
                         testing::Combine(testing::Values(DType::kF32, DType::kF16, DType::kBF16),
                                          testing::Values(8, 12, 64, 80), testing::Values(1, 2, 8),
                                          testing::Values(4, 16)));

TEST_P(BlockSummaryTest, CompressionAgreesWithTheSpecification) {
  const uint64_t seed = TestSeed();
  std::mt19937_64 one(seed), two(seed);
  const Summaries got(one, layout(), 4), want(two, layout(), 4, /*reference=*/true);
  for (int64_t b = 0; b < 4; ++b) {
    for (const int64_t part : {layout().gate, layout().entry_values, layout().entry_keys}) {
      const int64_t rows = part == layout().gate ? 1 : layout().entries;
      std::vector<float> x, y;
      for (int64_t i = 0; i < rows * layout().head_dim; ++i) {
        x.push_back(got.Value(b, part, i));
        y.push_back(want.Value(b, part, i));
      }
      EXPECT_LT(RelativeError(x, y), tolerance());
    }
  }
}

TEST_P(BlockSummaryTest, MeansAndExtremesAreThoseOfTheKeys) {
  std::mt19937_64 random(TestSeed());
  const Summaries s(random, layout(), 3);
  for (int64_t b = 0; b < 3; ++b) {
    for (int64_t i = 0; i < layout().head_dim; ++i) {
      double sum = 0;
      float max = s.Key(b, 0, i), min = max;
      for (int64_t j = 0; j < 64; ++j) {
        sum += s.Key(b, j, i);
        max = std::max(max, s.Key(b, j, i));
        min = std::min(min, s.Key(b, j, i));
      }
      EXPECT_NEAR(s.Value(b, layout().mean, i), sum / 64, tolerance());
      EXPECT_EQ(s.Value(b, layout().max, i), max);
      EXPECT_EQ(s.Value(b, layout().min, i), min);
    }
  }
}

// Keys that the cache holds can be made entries that its type does not.
TEST(BlockSummary, WhatIsTooLargeForTheTypeIsItsLargest) {
  for (const auto& [dtype, most] :
       {std::pair(DType::kF16, 65504.0f), {DType::kBF16, 0x1.fep127f}}) {
    std::mt19937_64 random(TestSeed());
    const SummaryLayout layout = LayoutOf(dtype, 8, 1, 16);
    CachedSequence cache(random, dtype, 1, 8, 64);
    std::vector<char> memory(layout.bytes, static_cast<char>(0xff));
    // Every sum has one sign, and is beyond the type.
    const float huge = dtype == DType::kF16 ? 1e6f : 1e38f;
    for (int64_t j = 0; j < 64; ++j) {
      for (int64_t i = 0; i < 8; ++i) {
        StoreElement(cache.view.keys(cache.table[0], 0), dtype, i * 64 + j, j % 2 == 0 ? 10 : -10);
        StoreElement(cache.view.values(cache.table[0], 0), dtype, j * 8 + i, 10);
      }
    }
    const std::vector<float> index(8 * kRank, huge), gate(8 * 24, 1e6f), up(64 * 8, 1),
        down(8, -huge), angles(64 * 8, 1);
    AlignedBuffer scratch;
    ASSERT_TRUE(scratch.Reserve(BlockCompressScratchFloats(layout, 8)));
    CompressBlock({.kv = cache.view,
                   .page = cache.table[0],
                   .layout = layout,
                   .summary = memory.data(),
                   .index_k = index.data(),
                   .gate_k = gate.data(),
                   .cosines = angles.data(),
                   .sines = angles.data(),
                   .values = {.up = up.data(), .down = down.data(), .inner = 1}},
                  scratch.data());
    for (int64_t j = 0; j < 64; ++j) {
      EXPECT_EQ(LoadElement(memory.data() + layout.index_codes, dtype, j),
                j % 2 == 0 ? most : -most);
    }
    for (int64_t i = 0; i < 8; ++i) {
      EXPECT_EQ(LoadElement(memory.data() + layout.entry_values, dtype, i), -most);
      EXPECT_TRUE(std::isfinite(LoadElement(memory.data() + layout.gate, dtype, i)));
      EXPECT_EQ(LoadElement(memory.data() + layout.mean, dtype, i), 0);
    }
  }
}

constexpr BlockScore kScores[] = {
    BlockScore::kMean,       BlockScore::kMax,   BlockScore::kQuest, BlockScore::kQuestMean,
    BlockScore::kCompressed, BlockScore::kIndex, BlockScore::kGate};

TEST_P(BlockSummaryTest, LogitsAgreeWithTheSpecification) {
  std::mt19937_64 random(TestSeed());
  const Summaries s(random, layout(), 11);
  const int64_t tokens = 3, group = 3, d = layout().head_dim, count = 9;
  const auto q = RandomFloats(random, tokens * group * d);
  const auto projected = RandomFloats(random, tokens * group * std::max(d, kRank));
  AlignedBuffer scratch;
  ASSERT_TRUE(scratch.Reserve(BlockLogitsScratchFloats(layout()) + 1));
  for (const BlockScore score : kScores) {
    std::vector<float> got(tokens * group * count), want = got, alone(count);
    BlockScoreParams params = {.score = score,
                               .layout = layout(),
                               .summaries = s.view,
                               .block_table = s.cache.table.data(),
                               .begin = 1,
                               .end = 1 + count,
                               .q = q.data(),
                               .q_stride = group * d,
                               .tokens = tokens,
                               .group = group,
                               .projected = projected.data(),
                               .scale = 0.25f,
                               .logits = got.data(),
                               .logit_stride = count};
    BlockLogits(params, scratch.data());
    params.logits = want.data();
    BlockLogitsReference(params);
    EXPECT_LT(RelativeError(got, want), 1e-5) << static_cast<int>(score);
    // The last token, its first head and one block alone.
    params.q += (tokens - 1) * params.q_stride;
    params.projected += (tokens - 1) * (score == BlockScore::kGate ? d : group * kRank);
    params.tokens = 1;
    params.group = 1;
    params.begin = 4;
    params.end = 5;
    params.logits = alone.data();
    BlockLogits(params, scratch.data());
    EXPECT_EQ(alone[0], got[(tokens - 1) * group * count + 3]) << static_cast<int>(score);
  }
}

TEST_P(BlockSummaryTest, CompressedAttentionAgreesWithTheSpecification) {
  std::mt19937_64 random(TestSeed());
  const Summaries s(random, layout(), 11);
  const int64_t group = 3, d = layout().head_dim;
  const auto q = RandomFloats(random, group * d), bias = RandomFloats(random, group);
  AlignedBuffer scratch;
  ASSERT_TRUE(scratch.Reserve(CompressedAttentionScratchFloats(layout(), group, 11) + 1));
  for (const std::vector<int32_t>& blocks :
       {std::vector<int32_t>{}, {7}, {0, 2, 3, 9}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}) {
    std::vector<float> got(group * d), want = got, got_lse(group), want_lse = got_lse;
    CompressedAttentionParams params = {.layout = layout(),
                                        .summaries = s.view,
                                        .block_table = s.cache.table.data(),
                                        .blocks = blocks.data(),
                                        .num_blocks = static_cast<int64_t>(blocks.size()),
                                        .q = q.data(),
                                        .group = group,
                                        .scale = 0.25f,
                                        .head_bias = bias.data(),
                                        .out = got.data(),
                                        .log_sum_exp = got_lse.data()};
    CompressedAttention(params, scratch.data());
    params.out = want.data();
    params.log_sum_exp = want_lse.data();
    CompressedAttentionReference(params);
    if (blocks.empty()) {
      EXPECT_EQ(got, std::vector<float>(group * d));
      EXPECT_EQ(got_lse, want_lse);
      EXPECT_EQ(got_lse[0], -std::numeric_limits<float>::infinity());
    } else {
      EXPECT_LT(RelativeError(got, want), 1e-5);
      EXPECT_LT(RelativeError(got_lse, want_lse), 1e-5);
    }
  }
}

TEST(AddProbabilities, AgreesWithTheSpecification) {
  std::mt19937_64 random(TestSeed());
  for (const int64_t count : {1, 7, 8, 9, 100}) {
    std::vector<float> logits = RandomFloats(random, 3 * 128, 5);
    std::vector<float> got(count, 1), want = got;
    AddProbabilitiesReference(logits.data(), 3, 128, count, want.data());
    AddProbabilities(logits.data(), 3, 128, count, got.data());
    EXPECT_LT(RelativeError(got, want), 1e-6);
    EXPECT_NEAR(std::accumulate(got.begin(), got.end(), 0.0), count + 3, 1e-4);
  }
}

// Or a tie would not be broken by position.
TEST(AddProbabilities, EqualLogitsGiveEqualScoresWhereverTheyStand) {
  std::mt19937_64 random(TestSeed());
  for (int64_t count = 1; count <= 40; ++count) {
    const float all_but_one = RandomFloats(random, 1, 4)[0];
    for (const int64_t other : {int64_t{-1}, count / 2}) {
      std::vector<float> logits(count, all_but_one), scores(count);
      if (other >= 0) logits[other] += std::abs(RandomFloats(random, 1, 4)[0]);
      AddProbabilities(logits.data(), 1, count, count, scores.data());
      for (int64_t b = 0; b < count; ++b) {
        if (b != other) {
          EXPECT_EQ(scores[b], scores[other == 0 ? 1 : 0]) << b << " of " << count;
        }
      }
    }
  }
}

std::vector<int32_t> Largest(const std::vector<float>& scores, int64_t selected) {
  std::vector<int32_t> order(scores.size());
  SelectLargest(scores.data(), scores.size(), selected, order.data());
  order.resize(selected);
  return order;
}

TEST(SelectLargest, TiesGoToTheLowerIndex) {
  using Indices = std::vector<int32_t>;
  EXPECT_EQ(Largest({1, 3, 2, 3, 3}, 2), (Indices{1, 3}));
  EXPECT_EQ(Largest({1, 1, 1, 1}, 3), (Indices{0, 1, 2}));
  EXPECT_EQ(Largest({1, 2}, 2), (Indices{0, 1}));
  EXPECT_EQ(Largest({1, 2}, 0), Indices{});
  EXPECT_EQ(Largest(std::vector<float>(2000, 0.5f), 4), (Indices{0, 1, 2, 3}));
  const float nan = std::nanf("");
  EXPECT_EQ(Largest({nan, 0, nan, 1, nan}, 3), (Indices{0, 1, 3}));
}

TEST(Merge, PartsWithoutWeightAreNotRead) {
  const float a[] = {1, 2}, nan[] = {std::nanf(""), std::nanf("")}, b[] = {3, 4};
  const float* const parts[] = {a, nan, b};
  double weights[] = {0, -std::numeric_limits<double>::infinity(), std::log(3.0)};
  Softmax(weights, 3);
  float out[2];
  WeightedSum(parts, weights, 3, 2, out);
  EXPECT_NEAR(out[0], 2.5, 1e-6);
  EXPECT_NEAR(out[1], 3.5, 1e-6);
  EXPECT_EQ(Sigmoid(0), 0.5);
  EXPECT_EQ(Sigmoid(-1000), 0);
  EXPECT_EQ(Sigmoid(1000), 1);
}

// Merging the parts of a sequence by their log-sum-exp gives the whole.
TEST(Merge, TwoHalvesAreTheWhole) {
  std::mt19937_64 random(TestSeed());
  const Summaries s(random, LayoutOf(DType::kF32, 16, 2, 4), 6);
  const auto q = RandomFloats(random, 16);
  const std::vector<int32_t> all = {0, 1, 2, 3, 4, 5};
  const float bias = 0;
  AlignedBuffer scratch;
  ASSERT_TRUE(scratch.Reserve(CompressedAttentionScratchFloats(s.layout, 1, 6)));
  const auto attend = [&](int64_t begin, int64_t end, float* out) {
    float lse = 0;
    CompressedAttention({.layout = s.layout,
                         .summaries = s.view,
                         .block_table = s.cache.table.data(),
                         .blocks = all.data() + begin,
                         .num_blocks = end - begin,
                         .q = q.data(),
                         .head_bias = &bias,
                         .out = out,
                         .log_sum_exp = &lse},
                        scratch.data());
    return static_cast<double>(lse);
  };
  std::vector<float> whole(16), low(16), high(16), merged(16);
  attend(0, 6, whole.data());
  double weights[] = {attend(0, 4, low.data()), attend(4, 6, high.data())};
  const float* const parts[] = {low.data(), high.data()};
  Softmax(weights, 2);
  WeightedSum(parts, weights, 2, 16, merged.data());
  EXPECT_LT(RelativeError(merged, whole), 1e-5);
}

}  // namespace
}  // namespace sieve
