// Which blocks are selected: queries for it, logits, choice.

#include "kernels/cuda/block_scores.h"

#include <limits>
#include <numeric>

#include "kernels/block_scores.h"
#include "kernels/cuda/block_queries.h"
#include "kernels/elementwise.h"
#include "tests/kernels/cuda/sparse_sequence.h"

namespace sieve::cuda {
namespace {

constexpr int64_t kSink = 1, kWindow = 2;

class CudaBlockScoresTest : public testing::TestWithParam<SparseShape> {
 protected:
  std::mt19937_64 random_{TestSeed()};
};

struct Scored {
  BlockScore score;
  int64_t rank, bits, entries;
};

// Contexts whose candidates are no multiple of what thread blocks take, with and without a whole
// piece, and a single token of each.
TEST_P(CudaBlockScoresTest, LogitsAgreeWithTheSpecification) {
  const SparseShape& shape = GetParam();
  const int64_t d = shape.head_dim, heads = shape.heads(), tokens = 3980, begin = 3960;
  const int64_t most = PieceTokens(shape.group);
  for (const Scored& s : {Scored{BlockScore::kMean, 4, 4, 1},
                          {BlockScore::kMax, 4, 4, 1},
                          {BlockScore::kQuest, 4, 4, 1},
                          {BlockScore::kQuestMean, 4, 4, 1},
                          {BlockScore::kCompressed, 4, 4, 1},
                          {BlockScore::kCompressed, 4, 4, 8},
                          {BlockScore::kGate, 4, 4, 1},
                          {BlockScore::kIndex, 16, 4, 1},
                          {BlockScore::kIndex, 5, 4, 1},
                          {BlockScore::kIndex, 16, 16, 1},
                          {BlockScore::kIndex, 30, 4, 1},
                          {BlockScore::kIndex, 64, 4, 1}}) {
    SCOPED_TRACE(testing::Message() << "score " << static_cast<int>(s.score) << " rank " << s.rank
                                    << " bits " << s.bits << " entries " << s.entries);
    SparseSequence sequence(random_, shape, AllParts(shape, s.rank, s.bits, s.entries), tokens);
    const bool is_gate = s.score == BlockScore::kGate;
    const int64_t width = is_gate ? d : shape.group * s.rank;
    const int64_t rows = tokens - begin;
    const std::vector<float> projected = RandomFloats(random_, rows * shape.kv_heads * width);
    const DeviceBuffer<float> device_projected(projected);
    const int64_t most_candidates = 70;
    const auto run = [&](int64_t piece_tokens) {
      const auto pieces = sequence.Pieces(begin, tokens, piece_tokens);
      const DeviceBuffer<SparsePiece> device_pieces(pieces);
      const DeviceBuffer<float> logits(rows * heads * most_candidates);
      Check(BlockLogits(
          {.batch = sequence.Batch(device_pieces, pieces.size(), piece_tokens, kSink, kWindow),
           .score = s.score,
           .layout = sequence.layout(),
           .summaries = sequence.device_summaries(),
           .projected = device_projected.get(),
           .logits = logits.get(),
           .max_candidates = most_candidates},
          nullptr));
      return logits.Read();
    };
    const std::vector<float> got = run(most);
    std::vector<float> compared, want;
    for (int64_t row = 0; row < rows; ++row) {
      const Candidates c = CandidatesOf((begin + row) / kPageTokens, kSink, kWindow);
      for (int64_t g = 0; g < shape.kv_heads; ++g) {
        std::vector<float> logits(shape.group * c.count());
        BlockLogitsReference({.score = s.score,
                              .layout = sequence.layout(),
                              .summaries = sequence.summaries(),
                              .kv_head = g,
                              .block_table = sequence.cache().table.data(),
                              .begin = c.begin,
                              .end = c.end,
                              .q = sequence.q(begin + row, g * shape.group),
                              .tokens = 1,
                              .group = shape.group,
                              .projected = &projected[(row * shape.kv_heads + g) * width],
                              .scale = shape.scale(),
                              .logits = logits.data(),
                              .logit_stride = c.count()});
        want.insert(want.end(), logits.begin(), logits.end());
        for (int64_t h = g * shape.group; h < (g + 1) * shape.group; ++h) {
          const auto at = got.begin() + (row * heads + h) * most_candidates;
          compared.insert(compared.end(), at, at + c.count());
        }
      }
    }
    EXPECT_LT(RelativeError(compared, want), 1e-5);
    const std::vector<float> alone = run(1);
    EXPECT_EQ(std::memcmp(alone.data(), got.data(), got.size() * sizeof(float)), 0);
  }
}

TEST_P(CudaBlockScoresTest, QueriesOfTheIndexAreProducts) {
  const SparseShape& shape = GetParam();
  const int64_t d = shape.head_dim, rank = 5, tokens = 70;
  const SparseSequence sequence(random_, shape, AllParts(shape, rank, 4, 1), tokens);
  const std::vector<float> weights = RandomFloats(random_, shape.kv_heads * d * rank);
  const DeviceBuffer<float> device_weights(weights), out(tokens * shape.heads() * rank);
  const auto pieces = sequence.Pieces(0, tokens, PieceTokens(shape.group));
  const DeviceBuffer<SparsePiece> device_pieces(pieces);
  Check(IndexQueries({.batch = sequence.Batch(device_pieces, pieces.size(),
                                              PieceTokens(shape.group), kSink, kWindow),
                      .weights = device_weights.get(),
                      .rank = rank,
                      .out = out.get()},
                     nullptr));
  std::vector<float> want;
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t h = 0; h < shape.heads(); ++h) {
      for (int64_t r = 0; r < rank; ++r) {
        double sum = 0;
        for (int64_t i = 0; i < d; ++i) {
          sum += double{weights[(h / shape.group * d + i) * rank + r]} * sequence.q(t, h)[i];
        }
        want.push_back(static_cast<float>(sum));
      }
    }
  }
  EXPECT_LT(RelativeError(out.Read(), want), 1e-5);
}

TEST_P(CudaBlockScoresTest, QueriesOfTheGateAreTurnedBackAndForth) {
  const SparseShape& shape = GetParam();
  const int64_t d = shape.head_dim, cols = shape.group * d, tokens = 70;
  const SparseSequence sequence(random_, shape, AllParts(shape, 4, 4, 1), tokens);
  // As GateQueriesParams has them, transposed.
  const std::vector<float> weights = RandomFloats(random_, shape.kv_heads * cols * d, 0.1f);
  std::vector<float> cosines = RandomFloats(random_, tokens * d / 2), sines = cosines;
  for (size_t i = 0; i < cosines.size(); ++i) {
    sines[i] = std::sin(cosines[i]);
    cosines[i] = std::cos(cosines[i]);
  }
  const DeviceBuffer<float> device_weights(weights), out(tokens * shape.kv_heads * d);
  const DeviceBuffer<float> device_cosines(cosines), device_sines(sines);
  const auto pieces = sequence.Pieces(0, tokens, PieceTokens(shape.group));
  const DeviceBuffer<SparsePiece> device_pieces(pieces);
  for (const bool interleaved : {false, true}) {
    Check(GateQueries({.batch = sequence.Batch(device_pieces, pieces.size(),
                                               PieceTokens(shape.group), kSink, kWindow),
                       .weights = device_weights.get(),
                       .cosines = device_cosines.get(),
                       .sines = device_sines.get(),
                       .interleaved = interleaved,
                       .out = out.get()},
                      nullptr));
    std::vector<float> want;
    for (int64_t t = 0; t < tokens; ++t) {
      const float *cosine = &cosines[t * d / 2], *sine = &sines[t * d / 2];
      for (int64_t g = 0; g < shape.kv_heads; ++g) {
        std::vector<float> q(sequence.q(t, g * shape.group), sequence.q(t, g * shape.group) + cols);
        std::vector<float> y(d);
        RotateBack(q.data(), shape.group, d, cosine, sine, interleaved);
        for (int64_t i = 0; i < d; ++i) {
          double sum = 0;
          for (int64_t c = 0; c < cols; ++c) {
            sum += double{weights[(g * cols + c) * d + i]} * q[c];
          }
          y[i] = static_cast<float>(sum);
        }
        ApplyRope(y.data(), 1, d, cosine, sine, interleaved);
        want.insert(want.end(), y.begin(), y.end());
      }
    }
    EXPECT_LT(RelativeError(out.Read(), want), 1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(Sweep, CudaBlockScoresTest, testing::ValuesIn(SparseShapes()),
                         [](const auto& info) { return NameOf(info.param); });

class CudaSelectBlocksTest : public testing::Test {
 protected:
  static constexpr SparseShape kShape = {DType::kF32, 64, 2, 2};

  // Of logits [rows, heads, most] and one choice for each `tile` tokens.
  std::vector<int32_t> Select(const SparseSequence& sequence, int64_t begin, int64_t tile,
                              const std::vector<float>& logits, int64_t most, int64_t selected) {
    const int64_t rows = sequence.tokens() - begin;
    const auto choices = sequence.Pieces(begin, sequence.tokens(), tile);
    const DeviceBuffer<SparsePiece> device_choices(choices);
    const DeviceBuffer<float> device_logits(logits);
    const DeviceBuffer<int32_t> out(rows * kShape.kv_heads * selected);
    Check(
        SelectBlocks({.batch = sequence.Batch(device_choices, choices.size(), tile, kSink, kWindow),
                      .logits = device_logits.get(),
                      .max_candidates = most,
                      .num_selected = selected,
                      .selected = out.get()},
                     nullptr));
    return out.Read();
  }

  void Compare(int64_t blocks, int64_t tile, int64_t selected) {
    SCOPED_TRACE(testing::Message()
                 << blocks << " blocks, tiles of " << tile << ", " << selected << " selected");
    const int64_t tokens = blocks * kPageTokens, begin = tokens - 64, rows = 64;
    const SparseSequence sequence(random_, kShape, AllParts(kShape, 4, 4, 1), tokens);
    const Candidates c = CandidatesOf(blocks - 1, kSink, kWindow);
    const int64_t most = c.count() + 3, heads = kShape.heads();
    const std::vector<float> logits = RandomFloats(random_, rows * heads * most, 3);
    const std::vector<int32_t> got = Select(sequence, begin, tile, logits, most, selected);
    const int64_t wanted = std::min<int64_t>(selected, c.count());
    std::vector<int32_t> order(c.count());
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t g = 0; g < kShape.kv_heads; ++g) {
        std::vector<float> scores(c.count(), 0.0f);
        for (int64_t u = t / tile * tile; u < (t / tile + 1) * tile; ++u) {
          AddProbabilitiesReference(&logits[(u * heads + g * kShape.group) * most], kShape.group,
                                    most, c.count(), scores.data());
        }
        SelectLargest(scores.data(), c.count(), wanted, order.data());
        for (int64_t i = 0; i < wanted; ++i) {
          ASSERT_EQ(got[(t * kShape.kv_heads + g) * selected + i], c.begin + order[i])
              << "token " << t << " place " << i;
        }
      }
    }
  }

  // The seed is fixed: with another, two scores may be so close that sums of another order tell
  // them apart otherwise.
  std::mt19937_64 random_{11};
};

TEST_F(CudaSelectBlocksTest, TheLargestScores) {
  for (const int64_t tile : {1, 16, 64}) {
    for (const int64_t blocks : {4, 5, 12, 37, 200}) Compare(blocks, tile, 8);
  }
  for (const int64_t selected : {1, 31, 32, 33, 190}) Compare(200, 1, selected);
  Compare(700, 1, 8);
}

// Equal logits give equal scores, of which the lower blocks are taken.
TEST_F(CudaSelectBlocksTest, TiesGoToTheLowerBlock) {
  const int64_t blocks = 100, tokens = blocks * kPageTokens, begin = tokens - 1;
  const SparseSequence sequence(random_, kShape, AllParts(kShape, 4, 4, 1), tokens);
  const Candidates c = CandidatesOf(blocks - 1, kSink, kWindow);
  const int64_t most = c.count(), heads = kShape.heads();
  const auto select = [&](const std::vector<float>& row) {
    std::vector<float> logits;
    for (int64_t h = 0; h < heads; ++h) logits.insert(logits.end(), row.begin(), row.end());
    const std::vector<int32_t> got = Select(sequence, begin, 1, logits, most, 4);
    return std::vector<int32_t>(got.begin(), got.begin() + 4);
  };
  using Blocks = std::vector<int32_t>;
  std::vector<float> row(most, 0.5f);
  EXPECT_EQ(select(row), (Blocks{1, 2, 3, 4}));
  row[50] = row[70] = 1;
  EXPECT_EQ(select(row), (Blocks{1, 2, 51, 71}));
  row[0] = row[33] = row[65] = row[90] = 2;
  row[95] = 1.5f;
  EXPECT_EQ(select(row), (Blocks{1, 34, 66, 91}));
  row[90] = 0;
  EXPECT_EQ(select(row), (Blocks{1, 34, 66, 96}));
  // A NaN spoils its row's sum: all scores are the least.
  row[7] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(select(row), (Blocks{1, 2, 3, 4}));
}

}  // namespace
}  // namespace sieve::cuda
