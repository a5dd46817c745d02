#include "model/attention/cache_reads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "model/attention/summary_layout.h"
#include "tests/kernels/random_data.h"

namespace sieve {
namespace {

constexpr CacheGeometry kCache = {
    .num_layers = 3, .num_kv_heads = 2, .head_dim = 16, .dtype = DType::kBF16};

AdapterConfig Config() {
  AdapterConfig config;
  config.num_layers = kCache.num_layers;
  config.num_kv_heads = kCache.num_kv_heads;
  config.head_dim = kCache.head_dim;
  config.sink_blocks = 1;
  config.window_blocks = 2;
  config.selected_blocks = 3;
  return config;
}

// docs/adapters.md, block by block, for one token of one layer.
CacheReads OfOneToken(const AdapterConfig& c, int64_t t, const SummaryLayout& layout) {
  const int64_t own = t / kPageTokens;
  int64_t base = t % kPageTokens + 1, candidates = 0;
  for (int64_t b = 0; b < own; ++b) {
    if (b < c.sink_blocks || b >= own - c.window_blocks) {
      base += kPageTokens;
    } else {
      ++candidates;
    }
  }
  const int64_t selected = std::min(candidates, c.selected_blocks);
  const int64_t rest = candidates - selected;
  CacheReads reads{.causal_keys = t + 1, .exact_keys = base + selected * kPageTokens};
  reads.key_value_bytes = reads.exact_keys * 2 * 2 * 16 * 2;  // heads, k and v, channels, bytes
  const SummaryParts parts = PartsOf(layout);
  if (rest > 0 && c.selected_blocks > 0) {
    reads.choice_bytes = candidates * 2 * (parts.statistics + parts.index);
  }
  reads.entry_bytes = (c.combiner == Combiner::kLiteral ? own : rest) * 2 * parts.entries;
  return reads;
}

void ExpectEqual(const CacheReads& a, const CacheReads& b) {
  EXPECT_EQ(a.causal_keys, b.causal_keys);
  EXPECT_EQ(a.exact_keys, b.exact_keys);
  EXPECT_EQ(a.key_value_bytes, b.key_value_bytes);
  EXPECT_EQ(a.choice_bytes, b.choice_bytes);
  EXPECT_EQ(a.entry_bytes, b.entry_bytes);
}

TEST(CacheReadsTest, ADenseModelReadsAll) {
  const CacheReadCounter counter(kCache);
  const CacheReads reads = counter.Count(10, 100);
  // 11 + ... + 110 keys in each of three layers.
  EXPECT_EQ(reads.causal_keys, 3 * 6050);
  EXPECT_EQ(reads.exact_keys, reads.causal_keys);
  EXPECT_EQ(reads.density(), 1);
  EXPECT_EQ(reads.key_value_bytes, reads.exact_keys * 2 * 2 * 16 * 2);
  EXPECT_EQ(reads.bytes(), reads.key_value_bytes);
  EXPECT_EQ(counter.SparseDensity(reads), 1);
  ExpectEqual(counter.Count(10, 0), {});
  ExpectEqual(CacheReadCounter().Count(0, 100), {});
  EXPECT_EQ(CacheReads().density(), 1);
}

TEST(CacheReadsTest, WhatAShortContextLeavesOut) {
  const CacheReadCounter counter(kCache, Config());
  // Sink, three chosen, two before and the token's own are seven blocks.
  EXPECT_EQ(counter.Count(0, 7 * 64).density(), 1);
  const CacheReads first = counter.Count(7 * 64, 1);
  EXPECT_EQ(first.causal_keys, 3 * (7 * 64 + 1));
  EXPECT_EQ(first.exact_keys, 3 * (6 * 64 + 1));
}

TEST(CacheReadsTest, EveryTokenIsThatOfTheDefinition) {
  std::mt19937_64 random(TestSeed());
  for (int round = 0; round < 200; ++round) {
    AdapterConfig config = Config();
    config.sink_blocks = random() % 3;
    config.window_blocks = random() % 4;
    config.selected_blocks = random() % 5;
    if (random() % 2 == 0) config.dense_layers = {1};
    if (random() % 2 == 0) config.tail = false;
    if (random() % 4 == 0) {
      config.combiner = Combiner::kLiteral;
      config.key_compression = config.value_compression = Compression::kMean;
    }
    if (random() % 2 == 0) config.selector = Selector::kQuestMean;
    const int64_t dense = config.dense_layers.size(), sparse = 3 - dense;
    const SummaryLayout layout = SummaryLayoutOf(config, kCache.dtype);
    const CacheReadCounter counter(kCache, config);
    const int64_t begin = random() % 1000, count = random() % 300;
    CacheReads expected;
    int64_t exact = 0, causal = 0;  // of a sparse layer
    for (int64_t t = begin; t < begin + count; ++t) {
      const CacheReads one = OfOneToken(config, t, layout);
      for (int64_t i = 0; i < sparse; ++i) expected += one;
      const CacheReads full = CacheReadCounter(kCache).Count(t, 1);
      for (int64_t i = 0; i < dense; ++i) {
        expected += {
            .causal_keys = t + 1, .exact_keys = t + 1, .key_value_bytes = full.key_value_bytes / 3};
      }
      exact += one.exact_keys;
      causal += one.causal_keys;
    }
    const CacheReads reads = counter.Count(begin, count);
    ExpectEqual(reads, expected);
    if (count > 0) {
      EXPECT_NEAR(counter.SparseDensity(reads), static_cast<double>(exact) / causal, 1e-12);
    }
    // However the tokens are cut into steps.
    const int64_t first = count > 0 ? random() % count : 0;
    CacheReads sum = counter.Count(begin, first);
    sum += counter.Count(begin + first, count - first);
    ExpectEqual(sum, reads);
  }
}

TEST(CacheReadsTest, TheChoiceReadsWhatItsSelectorKeeps) {
  AdapterConfig config = Config();
  const auto choice = [&] { return CacheReadCounter(kCache, config).Count(1000, 1).choice_bytes; };
  const int64_t candidates = 1000 / 64 - 3, rows = 3 * 2 * candidates;  // layers, heads, blocks
  config.selector = Selector::kMean;
  EXPECT_EQ(choice(), rows * 16 * 2);
  config.selector = Selector::kQuest;
  EXPECT_EQ(choice(), rows * 2 * 16 * 2);
  config.selector = Selector::kOracle;
  EXPECT_EQ(choice(), rows * 64 * 16 * 2);
  config.selector = Selector::kCompressed;  // one entry: a key and a bias in 16 bytes
  EXPECT_EQ(choice(), rows * (16 * 2 + 16));
  config.selected_blocks = 0;
  EXPECT_EQ(choice(), 0);
}

TEST(CacheReadsTest, PartsOfASummary) {
  AdapterConfig config = Config();
  config.head_dim = 64;
  SummaryParts parts = PartsOf(SummaryLayoutOf(config, DType::kBF16));
  EXPECT_EQ(parts.statistics, 128);
  EXPECT_EQ(parts.index, 64 + 64 + 512);
  EXPECT_EQ(parts.entries, 128 + 128 + 16);
  config.index_bits = 16;
  config.tail = false;
  parts = PartsOf(SummaryLayoutOf(config, DType::kBF16));
  EXPECT_EQ(parts.index, 2048);
  EXPECT_EQ(parts.entries, 0);
  config.selector = Selector::kQuest;
  parts = PartsOf(SummaryLayoutOf(config, DType::kBF16));
  EXPECT_EQ(parts.statistics, 256);
  EXPECT_EQ(parts.index, 0);
}

TEST(CacheReadsTest, TotalsAddUp) {
  CacheReadTotals totals;
  const CacheReads one{2, 1, 3, 4, 5};
  totals.Add(one);
  totals.Add(one);
  ExpectEqual(totals.Get(), {4, 2, 6, 8, 10});
}

TEST(CacheReadsTest, TotalsNeverGoBackWhileTheyAreAddedTo) {
  AdapterConfig config = Config();
  config.dense_layers = {0};
  const CacheReadCounter counter(kCache, config);
  const CacheReads dense = CacheReadCounter(kCache).Count(0, 1000);  // skips none
  const CacheReads sparse = counter.Count(5000, 1);
  CacheReadTotals totals;
  std::atomic<bool> stop = false;
  std::thread adder([&] {
    for (int i = 0; !stop; ++i) totals.Add(i % 2 == 0 ? sparse : dense);
  });
  CacheReads before = totals.Get();
  for (int i = 0; i < 300'000 && !HasFailure(); ++i) {
    const CacheReads now = totals.Get();
    EXPECT_GE(now.exact_keys, before.exact_keys);
    EXPECT_GE(now.causal_keys - now.exact_keys, before.causal_keys - before.exact_keys);
    EXPECT_LE(now.density(), 1);
    EXPECT_GE(counter.SparseDensity(now), 0);
    EXPECT_LE(counter.SparseDensity(now), 1);
    before = now;
  }
  stop = true;
  adder.join();
}

}  // namespace
}  // namespace sieve
