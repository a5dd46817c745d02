#include "kernels/paged_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "kernels/aligned_buffer.h"
#include "tests/kernels/random_data.h"

namespace sieve {
namespace {

// One sequence in a cache of scattered pages whose unused slots are poisoned with NaN.
struct Cache {
  Cache(std::mt19937_64& random, DType dtype, int64_t kv_heads, int64_t head_dim, int64_t length)
      : pages(length / 64 + 3), table(pages) {
    const int64_t head = 2 * 64 * RowBytes(dtype, head_dim);
    memory.assign(pages * kv_heads * head, 0xff);
    view = {memory.data(), kv_heads * head, head, dtype, head_dim};
    std::iota(table.begin(), table.end(), 0);
    std::shuffle(table.begin(), table.end(), random);
    for (int64_t t = 0; t < length; ++t) {
      for (int64_t h = 0; h < kv_heads; ++h) {
        const std::vector<float> k = RandomFloats(random, head_dim);
        const std::vector<float> v = RandomFloats(random, head_dim);
        WriteKv(view, table[t / 64], h, t % 64, k.data(), v.data());
      }
    }
  }
  int64_t pages;
  std::vector<int32_t> table;
  std::vector<char> memory;
  PagedKvView view;
};

std::vector<float> Attend(const Cache& cache, const std::vector<float>& q, int64_t heads,
                          int64_t group, int64_t first, int64_t tokens, int64_t heads_a_call,
                          bool reference = false) {
  const int64_t row = heads * cache.view.head_dim;
  std::vector<float> out(tokens * row, std::nanf(""));
  AlignedBuffer scratch;
  EXPECT_TRUE(
      scratch.Reserve(PagedAttentionScratchFloats(tokens, heads_a_call, cache.view.head_dim)));
  for (int64_t h = 0; h < heads; h += heads_a_call) {
    const PagedAttentionParams params = {.kv = cache.view,
                                         .block_table = cache.table.data(),
                                         .q = q.data() + first * row,
                                         .q_stride = row,
                                         .out = out.data(),
                                         .out_stride = row,
                                         .tokens = tokens,
                                         .first_position = first,
                                         .group = group,
                                         .head_begin = h,
                                         .head_end = h + heads_a_call,
                                         .scale = 0.125f};
    if (reference) {
      PagedAttentionReference(params, scratch.data());
    } else {
      PagedAttention(params, scratch.data());
    }
  }
  return out;
}

class PagedAttentionTest : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, PagedAttentionTest,
                         testing::Values(DType::kF32, DType::kF16, DType::kBF16),
                         [](const auto& info) { return InfoOf(info.param).name; });

TEST_P(PagedAttentionTest, AgreesWithTheSpecificationAtPageEdges) {
  std::mt19937_64 random(TestSeed());
  for (int64_t head_dim : {8, 12, 64, 80, 128, 256}) {
    for (int64_t group : {1, 3, 8}) {
      for (int64_t length : {1, 63, 64, 65, 150}) {
        const Cache cache(random, GetParam(), 2, head_dim, length);
        const int64_t heads = 2 * group;
        const std::vector<float> q = RandomFloats(random, length * heads * head_dim);
        const int64_t tokens = std::min<int64_t>(length, 16);
        for (int64_t first : {int64_t{0}, length - tokens}) {
          const auto got = Attend(cache, q, heads, group, first, tokens, group);
          const auto want = Attend(cache, q, heads, group, first, tokens, group, true);
          EXPECT_LT(RelativeError(got, want), 1e-5)
              << "d " << head_dim << " group " << group << " length " << length << " at " << first;
        }
      }
    }
  }
}

TEST_P(PagedAttentionTest, ARowDoesNotDependOnTheTile) {
  std::mt19937_64 random(TestSeed());
  const int64_t length = 150, heads = 6, group = 3, head_dim = 64, row = heads * head_dim;
  const Cache cache(random, GetParam(), 2, head_dim, length);
  const std::vector<float> q = RandomFloats(random, length * row);
  const auto together = Attend(cache, q, heads, group, 0, length, group);
  for (int64_t tokens : {1, 2, 5, 16}) {
    for (int64_t first = 0; first + tokens <= length; first += 7) {
      for (int64_t heads_a_call : {int64_t{1}, group}) {
        const auto part = Attend(cache, q, heads, group, first, tokens, heads_a_call);
        ASSERT_EQ(
            0, std::memcmp(part.data(), together.data() + first * row, part.size() * sizeof(float)))
            << tokens << " tokens at " << first;
      }
    }
  }
}

TEST_P(PagedAttentionTest, HugeScoresStayFinite) {
  std::mt19937_64 random(TestSeed());
  const Cache cache(random, GetParam(), 1, 64, 100);
  const std::vector<float> q = RandomFloats(random, 100 * 64, 1e4f);
  for (float v : Attend(cache, q, 1, 1, 0, 100, 1)) EXPECT_TRUE(std::isfinite(v));
}

TEST(PagedAttention, NanInAQueryStaysInItsRow) {
  std::mt19937_64 random(TestSeed());
  const Cache cache(random, DType::kF16, 1, 64, 70);
  std::vector<float> q = RandomFloats(random, 70 * 64);
  q[66 * 64 + 3] = std::nanf("");
  const auto out = Attend(cache, q, 1, 1, 60, 10, 1);
  for (int64_t i = 0; i < 10 * 64; ++i) EXPECT_EQ(std::isnan(out[i]), i / 64 == 6);
}

}  // namespace
}  // namespace sieve
