#include "kernels/paged_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels/aligned_buffer.h"
#include "tests/kernels/cached_sequence.h"
#include "tests/kernels/random_data.h"

namespace sieve {
namespace {

using Cache = CachedSequence;

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

// What a list of blocks gives.
struct Listed {
  std::vector<float> out, log_sum_exp;
};

Listed AttendList(const Cache& cache, const std::vector<float>& q, int64_t group, int64_t first,
                  int64_t tokens, const std::vector<int32_t>& blocks,
                  const std::vector<uint64_t>& readers, bool reference = false) {
  const int64_t d = cache.view.head_dim;
  Listed result = {std::vector<float>(tokens * group * d, std::nanf("")),
                   std::vector<float>(tokens * group, std::nanf(""))};
  AlignedBuffer scratch;
  EXPECT_TRUE(scratch.Reserve(PagedAttentionScratchFloats(tokens, group, d)));
  const PagedAttentionParams params = {.kv = cache.view,
                                       .block_table = cache.table.data(),
                                       .q = q.data() + first * group * d,
                                       .q_stride = group * d,
                                       .out = result.out.data(),
                                       .out_stride = group * d,
                                       .tokens = tokens,
                                       .first_position = first,
                                       .group = group,
                                       .head_begin = 0,
                                       .head_end = group,
                                       .scale = 0.125f,
                                       .blocks = blocks.data(),
                                       .num_blocks = static_cast<int64_t>(blocks.size()),
                                       .readers = readers.empty() ? nullptr : readers.data(),
                                       .log_sum_exp = result.log_sum_exp.data(),
                                       .log_sum_exp_stride = group};
  if (reference) {
    PagedAttentionReference(params, scratch.data());
  } else {
    PagedAttention(params, scratch.data());
  }
  return result;
}

TEST_P(PagedAttentionTest, AListOfAllBlocksIsDense) {
  std::mt19937_64 random(TestSeed());
  const Cache cache(random, GetParam(), 1, 64, 150);
  const std::vector<float> q = RandomFloats(random, 150 * 3 * 64);
  const std::vector<float> dense = Attend(cache, q, 3, 3, 134, 16, 3);
  const std::vector<uint64_t> everyone(3, 0xffff);
  for (const auto& readers : {std::vector<uint64_t>(), everyone}) {
    const Listed listed = AttendList(cache, q, 3, 134, 16, {0, 1, 2}, readers);
    EXPECT_EQ(0, std::memcmp(listed.out.data(), dense.data(), dense.size() * sizeof(float)));
  }
}

// Sixteen tokens from 120 on, so that the last eight are in the next block than the first.
TEST_P(PagedAttentionTest, EachTokenReadsItsBlocks) {
  std::mt19937_64 random(TestSeed());
  for (const int64_t head_dim : {8, 12, 64, 80}) {
    for (const int64_t group : {1, 4}) {
      const Cache cache(random, GetParam(), 1, head_dim, 140);
      const std::vector<float> q = RandomFloats(random, 140 * group * head_dim);
      const std::vector<int32_t> blocks = {0, 1, 2};
      // Token 3 reads nothing; token 9 all; the others whatever comes.
      std::vector<uint64_t> readers = {random() & 0xfff7, random() & 0xfff7, 0xff00};
      for (uint64_t& r : readers) r |= 1 << 9;
      const Listed got = AttendList(cache, q, group, 120, 16, blocks, readers);
      const Listed want = AttendList(cache, q, group, 120, 16, blocks, readers, true);
      EXPECT_LT(RelativeError(got.out, want.out), 1e-5);
      for (size_t i = 0; i < got.log_sum_exp.size(); ++i) {
        if (std::isinf(want.log_sum_exp[i])) {
          EXPECT_EQ(got.log_sum_exp[i], want.log_sum_exp[i]);
        } else {
          EXPECT_NEAR(got.log_sum_exp[i], want.log_sum_exp[i], 1e-5);
        }
      }
      for (int64_t i = 3 * group * head_dim; i < 4 * group * head_dim; ++i) {
        EXPECT_EQ(got.out[i], 0);
      }
      EXPECT_TRUE(std::isinf(got.log_sum_exp[3 * group]));
      // Each token alone, with its list.
      for (int64_t t = 0; t < 16; ++t) {
        std::vector<int32_t> own;
        own.reserve(3);  // an empty list is not null, which stands for all blocks
        for (int32_t b = 0; b < 3; ++b) {
          if ((readers[b] >> t & 1) != 0) own.push_back(b);
        }
        const Listed alone = AttendList(cache, q, group, 120 + t, 1, own, {});
        EXPECT_EQ(0, std::memcmp(alone.out.data(), &got.out[t * group * head_dim],
                                 alone.out.size() * sizeof(float)));
        EXPECT_EQ(0, std::memcmp(alone.log_sum_exp.data(), &got.log_sum_exp[t * group],
                                 group * sizeof(float)));
      }
    }
  }
}

}  // namespace
}  // namespace sieve
