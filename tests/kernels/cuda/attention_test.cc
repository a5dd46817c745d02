#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/cuda/decode_attention.h"
#include "kernels/cuda/prefill_attention.h"
#include "tests/kernels/cuda/device_buffer.h"

namespace sieve::cuda {
namespace {

struct Shape {
  DType dtype;
  int64_t head_dim, kv_heads, group;
};

enum class Kernel { kPrefill, kPortablePrefill, kDecode };

// A cache with sequences of random keys and values; all that is no token's is NaN.
class Sequences {
 public:
  Sequences(const Shape& shape, const std::vector<int64_t>& lengths, uint32_t seed)
      : shape_(shape), lengths_(lengths), stride_(0), random_(seed) {
    for (const int64_t length : lengths) stride_ = std::max(stride_, Pages(length));
    tables_.assign(lengths.size() * stride_, 0);
    int64_t pages = 0;
    for (const int64_t length : lengths) pages += Pages(length);
    std::vector<int32_t> ids(pages);
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), random_);
    cache_.assign(pages * PageElements(), NAN);
    for (size_t s = 0; s < lengths.size(); ++s) {
      for (int64_t page = 0; page < Pages(lengths[s]); ++page) {
        tables_[s * stride_ + page] = ids.back();
        ids.pop_back();
      }
      Fill(s);
    }
  }

  float& Element(size_t sequence, int64_t position, int64_t head, bool value, int64_t i) {
    const int64_t page = tables_[sequence * stride_ + position / kPageTokens];
    const int64_t d = shape_.head_dim;
    return cache_[page * PageElements() + (2 * head + value) * kPageTokens * d +
                  PageOffset(position % kPageTokens, i, d, InfoOf(shape_.dtype).bytes)];
  }

  // Every token's output [tokens of all tiles, heads, head_dim] in one launch.
  std::vector<float> Run(const std::vector<AttentionTile>& tiles, const std::vector<float>& q,
                         Kernel kernel) const {
    const DeviceBuffer<char> cache(Encode(cache_, shape_.dtype)), device_q(Encode(q, shape_.dtype));
    const DeviceBuffer<char> out(q.size() * InfoOf(shape_.dtype).bytes);
    const DeviceBuffer<AttentionTile> device_tiles(tiles);
    const DeviceBuffer<int32_t> tables(tables_);
    const int64_t bytes = InfoOf(shape_.dtype).bytes;
    PagedAttentionParams p;
    p.kv = {cache.get(), PageElements() * bytes, 2 * kPageTokens * shape_.head_dim * bytes,
            shape_.dtype, shape_.head_dim};
    p.q = device_q.get();
    p.out = out.get();
    p.tiles = device_tiles.get();
    p.num_tiles = tiles.size();
    p.block_tables = tables.get();
    p.block_table_stride = stride_;
    p.num_heads = heads();
    p.num_kv_heads = shape_.kv_heads;
    p.scale = scale();
    p.may_read_ahead = true;  // no kernel before this one writes pages
    if (kernel == Kernel::kDecode) {
      const int64_t splits = *std::max_element(lengths_.begin(), lengths_.end()) / kSplitTokens + 2;
      const DeviceBuffer<float> partials(
          DecodePartialFloats(tiles.size(), heads(), shape_.head_dim, splits));
      Check(DecodeAttention(p, splits, partials.get(), nullptr));
      return Decode(out.Read(), shape_.dtype);
    }
    Check(kernel == Kernel::kPrefill ? PrefillAttention(p, nullptr)
                                     : PortablePrefillAttention(p, nullptr));
    return Decode(out.Read(), shape_.dtype);
  }

  // One head of one token in double.
  std::vector<double> Want(size_t sequence, int64_t position, int64_t head, const float* q) {
    std::vector<double> scores(position + 1), out(shape_.head_dim, 0);
    for (int64_t j = 0; j <= position; ++j) {
      for (int64_t i = 0; i < shape_.head_dim; ++i) {
        scores[j] +=
            static_cast<double>(q[i]) * Element(sequence, j, head / shape_.group, false, i);
      }
      scores[j] *= scale();
    }
    const double max = *std::max_element(scores.begin(), scores.end());
    double total = 0;
    for (double& score : scores) total += score = std::exp(score - max);
    for (int64_t j = 0; j <= position; ++j) {
      for (int64_t i = 0; i < shape_.head_dim; ++i) {
        out[i] += scores[j] / total * Element(sequence, j, head / shape_.group, true, i);
      }
    }
    return out;
  }

  int64_t heads() const { return shape_.kv_heads * shape_.group; }
  float scale() const { return 1 / std::sqrt(static_cast<float>(shape_.head_dim)); }

 private:
  static int64_t Pages(int64_t length) { return (length + kPageTokens - 1) / kPageTokens; }
  int64_t PageElements() const { return shape_.kv_heads * 2 * kPageTokens * shape_.head_dim; }
  void Fill(size_t sequence) {
    const int64_t d = shape_.head_dim;
    const std::vector<float> values =
        RandomValues(lengths_[sequence] * shape_.kv_heads * 2 * d, shape_.dtype, random_());
    const float* value = values.data();
    for (int64_t position = 0; position < lengths_[sequence]; ++position) {
      for (int64_t head = 0; head < shape_.kv_heads; ++head) {
        for (int64_t i = 0; i < 2 * d; ++i) {
          Element(sequence, position, head, i >= d, i % d) = *value++;
        }
      }
    }
  }

  const Shape shape_;
  const std::vector<int64_t> lengths_;
  int64_t stride_;
  std::mt19937 random_;
  std::vector<int32_t> tables_;
  std::vector<float> cache_;
};

class CudaAttentionTest : public testing::TestWithParam<Shape> {
 protected:
  static int64_t TileTokens() {
    return PrefillTileTokens(GetParam().dtype, GetParam().head_dim, GetParam().group);
  }
  // Tiles of at most `most` tokens for the last `counts[s]` tokens of each sequence.
  static std::vector<AttentionTile> Tiles(const std::vector<int64_t>& lengths,
                                          const std::vector<int64_t>& counts, int64_t most) {
    std::vector<AttentionTile> tiles;
    int64_t row = 0;
    for (size_t s = 0; s < lengths.size(); ++s) {
      for (int64_t done = 0; done < counts[s]; done += most) {
        const int64_t n = std::min(most, counts[s] - done);
        tiles.push_back({static_cast<int32_t>(s), static_cast<int32_t>(row),
                         static_cast<int32_t>(n),
                         static_cast<int32_t>(lengths[s] - counts[s] + done)});
        row += n;
      }
    }
    return tiles;
  }

  void ExpectRight(Sequences* sequences, const std::vector<AttentionTile>& tiles,
                   const std::vector<float>& q, const std::vector<float>& got) {
    const int64_t d = GetParam().head_dim, heads = sequences->heads();
    for (const AttentionTile& tile : tiles) {
      // Every token is compared bit for bit elsewhere; here the first and last of a tile in double.
      for (const int32_t t : {0, tile.num_tokens - 1}) {
        for (int64_t h = 0; h < heads; ++h) {
          const int64_t at = ((tile.first_token + t) * heads + h) * d;
          const std::vector<double> want =
              sequences->Want(tile.sequence, tile.position + t, h, &q[at]);
          for (int64_t i = 0; i < d; ++i) {
            ASSERT_NEAR(got[at + i], want[i], 4 * Epsilon(GetParam().dtype) + 2e-5)
                << "sequence " << tile.sequence << " position " << tile.position + t << " head "
                << h;
          }
        }
      }
    }
  }
};

TEST_P(CudaAttentionTest, PrefillAndDecodingAgreeWithTheSpecificationAndWithEachOther) {
  const std::vector<int64_t> lengths = {1, 64, 65, 255, 256, 257, 700, 130};
  const std::vector<int64_t> counts = {1, 64, 2, 40, 7, 1, 33, 130};
  Sequences sequences(GetParam(), lengths, 3);
  const int64_t tokens = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  const std::vector<float> q =
      RandomValues(tokens * sequences.heads() * GetParam().head_dim, GetParam().dtype, 4);
  const std::vector<AttentionTile> tiles = Tiles(lengths, counts, TileTokens());
  const std::vector<float> prefilled = sequences.Run(tiles, q, Kernel::kPrefill);
  ExpectRight(&sequences, tiles, q, prefilled);
  const auto expect_same = [&](const char* what, int64_t most, Kernel kernel) {
    const std::vector<float> other = sequences.Run(Tiles(lengths, counts, most), q, kernel);
    EXPECT_EQ(std::memcmp(prefilled.data(), other.data(), other.size() * 4), 0) << what;
  };
  expect_same("other tiles", 3, Kernel::kPrefill);
  expect_same("one token a tile", 1, Kernel::kPrefill);
  expect_same("portable", PortablePrefillTileTokens(GetParam().group), Kernel::kPortablePrefill);
  expect_same("decoding", 1, Kernel::kDecode);
}

class CudaLongPromptTest : public CudaAttentionTest {};

// More pages than a ring has slots, and tiles that begin and end anywhere in them.
TEST_P(CudaLongPromptTest, HasThePortableKernelsBits) {
  const std::vector<int64_t> lengths = {2100, 1500, 3}, counts = {2100, 777, 3};
  const Sequences sequences(GetParam(), lengths, 5);
  const std::vector<float> q =
      RandomValues(2880 * sequences.heads() * GetParam().head_dim, GetParam().dtype, 6);
  const std::vector<float> portable =
      sequences.Run(Tiles(lengths, counts, PortablePrefillTileTokens(GetParam().group)), q,
                    Kernel::kPortablePrefill);
  for (const int64_t most : {TileTokens(), (TileTokens() + 1) / 2}) {
    const std::vector<float> got = sequences.Run(Tiles(lengths, counts, most), q, Kernel::kPrefill);
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(got[i], portable[i]) << i << ", tiles of " << most;  // NaN is not equal
    }
  }
}

class CudaDecodingTest : public CudaAttentionTest {};

// More splits than warps take at once, of 1 to 256 keys, for 300 sequences of which most are short.
TEST_P(CudaDecodingTest, HasThePortablePrefillKernelsBits) {
  std::vector<int64_t> lengths = {1,   63,  64,  65,  128, 129,  192,  193, 255,
                                  256, 257, 320, 321, 511, 2048, 2049, 5000};
  std::mt19937 random(9);
  while (lengths.size() < 300) lengths.push_back(1 + random() % 100);
  std::shuffle(lengths.begin(), lengths.end(), random);
  for (const size_t count : {lengths.size(), size_t{5}}) {
    lengths.resize(count);
    const Sequences sequences(GetParam(), lengths, 10);
    const std::vector<AttentionTile> tiles =
        Tiles(lengths, std::vector<int64_t>(lengths.size(), 1), 1);
    const std::vector<float> q =
        RandomValues(tiles.size() * sequences.heads() * GetParam().head_dim, GetParam().dtype, 11);
    const std::vector<float> want = sequences.Run(tiles, q, Kernel::kPortablePrefill);
    const std::vector<float> got = sequences.Run(tiles, q, Kernel::kDecode);
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(got[i], want[i]) << i << " of " << count << " sequences";  // NaN is not equal
    }
  }
}

std::vector<Shape> Shapes(const std::vector<DType>& dtypes) {
  std::vector<Shape> shapes;
  for (const DType dtype : dtypes) {
    for (const int64_t d : {64, 80, 96, 128, 256}) shapes.push_back({dtype, d, 2, 4});
    for (const int64_t group : {1, 2, 3, 5, 8, 16}) shapes.push_back({dtype, 64, 3, group});
    for (const int64_t group : {1, 3, 16}) shapes.push_back({dtype, 128, 2, group});
  }
  return shapes;
}

std::string NameOf(const testing::TestParamInfo<Shape>& info) {
  return std::string(InfoOf(info.param.dtype).name) + "_" + std::to_string(info.param.head_dim) +
         "_" + std::to_string(info.param.group);
}

INSTANTIATE_TEST_SUITE_P(Sweep, CudaAttentionTest,
                         testing::ValuesIn(Shapes({DType::kBF16, DType::kF16, DType::kF32})),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(Sweep, CudaDecodingTest,
                         testing::ValuesIn(Shapes({DType::kBF16, DType::kF16})), NameOf);
INSTANTIATE_TEST_SUITE_P(Sweep, CudaLongPromptTest,
                         testing::ValuesIn(Shapes({DType::kBF16, DType::kF16})), NameOf);

// 512 splits, of which the last begins with one token.
TEST(CudaAttentionContext, OfAHundredThousandTokens) {
  const Shape shape = {DType::kBF16, 64, 1, 4};
  const std::vector<int64_t> lengths = {131072 - 255};
  const Sequences sequences(shape, lengths, 7);
  const std::vector<float> q = RandomValues(5 * 4 * 64, shape.dtype, 8);
  const auto run = [&](int32_t most, Kernel kernel) {
    std::vector<AttentionTile> tiles;
    for (int32_t t = 0; t < 5; t += most) {
      const auto position = static_cast<int32_t>(lengths[0] - 5 + t);
      tiles.push_back({0, t, std::min(most, 5 - t), position});
    }
    return sequences.Run(tiles, q, kernel);
  };
  const std::vector<float> prefilled = run(5, Kernel::kPrefill);
  EXPECT_FALSE(std::isnan(prefilled[0]));
  EXPECT_EQ(prefilled, run(5, Kernel::kPortablePrefill));
  EXPECT_EQ(prefilled, run(1, Kernel::kDecode));
}

TEST(CudaAttentionErrors, WhatItDoesNotTake) {
  EXPECT_FALSE(AttentionSupports(72, 1));
  EXPECT_FALSE(AttentionSupports(64, 17));
  PagedAttentionParams p;
  p.num_tiles = 1;
  p.num_heads = p.num_kv_heads = 1;
  p.kv.head_dim = 72;
  EXPECT_EQ(PrefillAttention(p, nullptr), cudaErrorInvalidValue);
  EXPECT_EQ(DecodeAttention(p, 1, nullptr, nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace sieve::cuda
