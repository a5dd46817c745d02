// Attention to a few blocks and to compressed entries, and how the parts become one output.

#include "kernels/cuda/sparse_attention.h"

#include <algorithm>
#include <numeric>

#include "kernels/compressed_attention.h"
#include "kernels/cuda/combine.h"
#include "kernels/cuda/entry_attention.h"
#include "kernels/merge.h"
#include "kernels/paged_attention.h"
#include "tests/kernels/cuda/sparse_sequence.h"

namespace sieve::cuda {
namespace {

constexpr int64_t kSink = 1, kWindow = 2, kSelected = 3;

// Outputs and log-sum-exps, [tokens, heads, d] and [tokens, heads].
struct Attended {
  std::vector<float> out, log_sum_exp;
};

class CudaSparseAttentionTest : public testing::TestWithParam<SparseShape> {
 protected:
  // `length` tokens, of which those from `begin` on attend.
  void SetUpSequence(int64_t begin, int64_t length, int64_t entries = 1) {
    random_.seed(TestSeed());
    begin_ = begin;
    sequence_ = std::make_unique<SparseSequence>(random_, GetParam(),
                                                 AllParts(GetParam(), 4, 4, entries), length);
    selected_.assign(rows() * GetParam().kv_heads * kSelected, -1);
    for (int64_t i = 0; i < rows() * GetParam().kv_heads; ++i) {
      const Candidates c = CandidatesOf(own(i / GetParam().kv_heads), kSink, kWindow);
      std::vector<int32_t> blocks(c.count());
      std::iota(blocks.begin(), blocks.end(), c.begin);
      std::shuffle(blocks.begin(), blocks.end(), random_);
      blocks.resize(std::min<size_t>(kSelected, blocks.size()));
      std::sort(blocks.begin(), blocks.end());
      std::copy(blocks.begin(), blocks.end(), selected_.begin() + i * kSelected);
    }
    device_selected_ = std::make_unique<DeviceBuffer<int32_t>>(selected_);
  }

  int64_t rows() const { return sequence_->tokens() - begin_; }
  int64_t own(int64_t row) const { return (begin_ + row) / kPageTokens; }
  int64_t heads() const { return GetParam().heads(); }

  // The blocks of a row's part.
  std::vector<int32_t> Blocks(int64_t row, int64_t kv_head, bool base, bool chosen) const {
    const Candidates c = CandidatesOf(own(row), kSink, kWindow);
    const int32_t* selected = &selected_[(row * GetParam().kv_heads + kv_head) * kSelected];
    const int32_t* end = selected + std::min<int64_t>(kSelected, c.count());
    std::vector<int32_t> blocks;
    blocks.reserve(own(row) + 1);  // none is not null, which would be all
    for (int32_t b = 0; b <= own(row); ++b) {
      const bool candidate = b >= c.begin && b < c.end;
      if (candidate ? chosen && std::find(selected, end, b) != end : base) blocks.push_back(b);
    }
    return blocks;
  }

  Attended Want(bool base, bool chosen) {
    const int64_t d = GetParam().head_dim;
    Attended want = {std::vector<float>(rows() * heads() * d),
                     std::vector<float>(rows() * heads())};
    for (int64_t row = 0; row < rows(); ++row) {
      for (int64_t g = 0; g < GetParam().kv_heads; ++g) {
        const std::vector<int32_t> blocks = Blocks(row, g, base, chosen);
        const int64_t first = g * GetParam().group;
        PagedAttentionReference({.kv = sequence_->cache().view,
                                 .block_table = sequence_->cache().table.data(),
                                 .q = sequence_->q(begin_ + row, 0),
                                 .out = &want.out[row * heads() * d],
                                 .tokens = 1,
                                 .first_position = begin_ + row,
                                 .group = GetParam().group,
                                 .head_begin = first,
                                 .head_end = first + GetParam().group,
                                 .scale = GetParam().scale(),
                                 .blocks = blocks.data(),
                                 .num_blocks = static_cast<int64_t>(blocks.size()),
                                 .log_sum_exp = &want.log_sum_exp[row * heads()]},
                                nullptr);
      }
    }
    return want;
  }

  Attended WantOfEntries(bool all_blocks) {
    const int64_t d = GetParam().head_dim;
    Attended want = {std::vector<float>(rows() * heads() * d),
                     std::vector<float>(rows() * heads())};
    const std::vector<float> bias(GetParam().group, 0.0f);
    for (int64_t row = 0; row < rows(); ++row) {
      for (int64_t g = 0; g < GetParam().kv_heads; ++g) {
        const std::vector<int32_t> read = Blocks(row, g, true, true);
        std::vector<int32_t> blocks;
        for (int32_t b = 0; b < own(row); ++b) {
          if (all_blocks || !std::binary_search(read.begin(), read.end(), b)) blocks.push_back(b);
        }
        const int64_t head = g * GetParam().group;
        CompressedAttentionReference({.layout = sequence_->layout(),
                                      .summaries = sequence_->summaries(),
                                      .kv_head = g,
                                      .block_table = sequence_->cache().table.data(),
                                      .blocks = blocks.data(),
                                      .num_blocks = static_cast<int64_t>(blocks.size()),
                                      .q = sequence_->q(begin_ + row, head),
                                      .group = GetParam().group,
                                      .scale = GetParam().scale(),
                                      .head_bias = bias.data(),
                                      .out = &want.out[(row * heads() + head) * d],
                                      .log_sum_exp = &want.log_sum_exp[row * heads() + head]});
      }
    }
    return want;
  }

  // What `run` leaves in partials of `splits` parts, merged by Combine: in the cache's type.
  template <typename Run>
  std::vector<float> Merged(int64_t most_tokens, int64_t splits, Run run) {
    const auto pieces = sequence_->Pieces(begin_, sequence_->tokens(), most_tokens);
    const DeviceBuffer<SparsePiece> device_pieces(pieces);
    const SparseBatch batch =
        sequence_->Batch(device_pieces, pieces.size(), most_tokens, kSink, kWindow);
    const DeviceBuffer<float> partials(rows() * heads() * splits * (GetParam().head_dim + 2));
    Check(run(batch, partials.get(), splits));
    Check(Combine({.batch = batch, .chosen = {partials.get(), splits}}, nullptr));
    partials_ = partials.Read();
    const std::vector<float> out = sequence_->Out();
    return {out.begin() + begin_ * heads() * GetParam().head_dim, out.end()};
  }

  // Of the last Merged with one split: before rounding.
  Attended Finished() const {
    const int64_t d = GetParam().head_dim;
    Attended got;
    for (size_t at = 0; at < partials_.size(); at += d + 2) {
      const float max = partials_[at + d], total = partials_[at + d + 1];
      for (int64_t i = 0; i < d; ++i) {
        got.out.push_back(total == 0 ? 0 : partials_[at + i] / total);
      }
      got.log_sum_exp.push_back((max + std::log2(total)) * static_cast<float>(M_LN2));
    }
    return got;
  }

  void ExpectClose(const Attended& got, const Attended& want) const {
    // Weights are rounded to the cache's type.
    const double most = 2 * Epsilon(GetParam().dtype) + 1e-5;
    if (std::all_of(want.out.begin(), want.out.end(), [](float x) { return x == 0; })) {
      EXPECT_EQ(got.out, want.out);
    } else {
      EXPECT_LT(RelativeError(got.out, want.out), most);
    }
    for (size_t i = 0; i < want.log_sum_exp.size(); ++i) {
      if (std::isinf(want.log_sum_exp[i])) {
        ASSERT_EQ(got.log_sum_exp[i], want.log_sum_exp[i]);
      } else {
        ASSERT_NEAR(got.log_sum_exp[i], want.log_sum_exp[i], 2e-5);
      }
    }
  }

  auto Exact(bool base, bool chosen) {
    return [=, this](const SparseBatch& batch, float* partials, int64_t splits) {
      return SparseAttention({.batch = batch,
                              .base = base,
                              .chosen = chosen,
                              .selected = device_selected_->get(),
                              .num_selected = kSelected,
                              .partials = partials,
                              .max_splits = splits},
                             nullptr);
    };
  }
  auto Entries(bool all_blocks) {
    return [=, this](const SparseBatch& batch, float* partials, int64_t splits) {
      return EntryAttention({.batch = batch,
                             .layout = sequence_->layout(),
                             .summaries = sequence_->device_summaries(),
                             .all_blocks = all_blocks,
                             .selected = device_selected_->get(),
                             .num_selected = kSelected,
                             .partials = partials,
                             .max_splits = splits},
                            nullptr);
    };
  }

  std::mt19937_64 random_;
  int64_t begin_ = 0;
  std::unique_ptr<SparseSequence> sequence_;
  std::vector<int32_t> selected_;
  std::unique_ptr<DeviceBuffer<int32_t>> device_selected_;
  std::vector<float> partials_;
};

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Rows from the sequence's beginning, where nothing is left out, to blocks with a rest; the last
// block is not full.
TEST_P(CudaSparseAttentionTest, ReadsTheBlocksOfEachRow) {
  const int64_t most = PieceTokens(GetParam().group);
  for (const auto& [begin, length] : {std::pair<int64_t, int64_t>{0, 200}, {760, 1001}}) {
    SetUpSequence(begin, length);
    for (const auto& [base, chosen] : {std::pair(true, true), {true, false}, {false, true}}) {
      SCOPED_TRACE(std::to_string(begin) + (base ? " base" : "") + (chosen ? " chosen" : ""));
      const std::vector<float> whole = Merged(most, 1, Exact(base, chosen));
      ExpectClose(Finished(), Want(base, chosen));
      EXPECT_TRUE(SameBits(Merged(1, 1, Exact(base, chosen)), whole));
      const int64_t splits = MostSparseSplits(length / kPageTokens, kSink, kWindow, kSelected);
      EXPECT_TRUE(SameBits(Merged(1, splits, Exact(base, chosen)), whole));
      EXPECT_TRUE(SameBits(Merged(1, splits + 3, Exact(base, chosen)), whole));
    }
  }
}

TEST_P(CudaSparseAttentionTest, ReadsTheEntriesOfTheRest) {
  const int64_t most = PieceTokens(GetParam().group);
  for (const int64_t entries : {1, 8}) {
    for (const auto& [begin, length] : {std::pair<int64_t, int64_t>{0, 200}, {9000, 9103}}) {
      SetUpSequence(begin, length, entries);
      for (const bool all_blocks : {false, true}) {
        SCOPED_TRACE(std::to_string(begin) + " entries " + std::to_string(entries));
        const std::vector<float> whole = Merged(most, 1, Entries(all_blocks));
        ExpectClose(Finished(), WantOfEntries(all_blocks));
        EXPECT_TRUE(SameBits(Merged(1, 1, Entries(all_blocks)), whole));
        const int64_t splits = EntrySplits(length / kPageTokens, entries);
        EXPECT_TRUE(SameBits(Merged(1, splits + 1, Entries(all_blocks)), whole));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sweep, CudaSparseAttentionTest, testing::ValuesIn(SparseShapes()),
                         [](const auto& info) { return NameOf(info.param); });

class CudaCombineTest : public testing::TestWithParam<SparseShape> {
 protected:
  // Random sums in `splits` splits. Of several every third is empty; those of row `nothing` all
  // are.
  std::vector<float> RandomSums(int64_t splits, int64_t nothing) {
    const int64_t d = GetParam().head_dim;
    std::vector<float> sums = RandomFloats(random_, rows_ * GetParam().heads() * splits * (d + 2));
    for (int64_t i = 0; i < rows_ * GetParam().heads() * splits; ++i) {
      float* const at = &sums[i * (d + 2)];
      const bool is_empty =
          (splits > 1 && i % 3 == 2) || i / splits / GetParam().heads() == nothing;
      at[d] = is_empty ? -INFINITY : at[d] * 3;
      at[d + 1] = is_empty ? 0 : std::abs(at[d + 1]) + 0.5f;
      if (is_empty) std::fill(at, at + d, NAN);
    }
    return sums;
  }
  // out[d] and the log-sum-exp of a row and head.
  std::pair<std::vector<float>, double> Finish(const std::vector<float>& sums, int64_t splits,
                                               int64_t row_and_head) const {
    const int64_t d = GetParam().head_dim;
    std::vector<double> out(d, 0);
    double total = 0;
    for (int64_t s = 0; s < splits; ++s) {
      const float* at = &sums[(row_and_head * splits + s) * (d + 2)];
      if (at[d + 1] == 0) continue;
      for (int64_t i = 0; i < d; ++i) out[i] += std::exp2(at[d]) * at[i];
      total += std::exp2(at[d]) * at[d + 1];
    }
    std::vector<float> result(d, 0);
    for (int64_t i = 0; i < d && total > 0; ++i) result[i] = static_cast<float>(out[i] / total);
    return {result, std::log(total)};
  }

  std::mt19937_64 random_{TestSeed()};
  const int64_t rows_ = 5;
};

TEST_P(CudaCombineTest, IsOneSoftmaxOrGates) {
  const int64_t d = GetParam().head_dim, heads = GetParam().heads();
  const SparseSequence sequence(random_, GetParam(), AllParts(GetParam(), 4, 4, 1), rows_);
  const auto pieces = sequence.Pieces(0, rows_, 4);
  const DeviceBuffer<SparsePiece> device_pieces(pieces);
  const std::vector<float> gammas = RandomFloats(random_, rows_ * 3 * heads);
  const std::vector<float> bias = RandomFloats(random_, heads);
  const std::vector<float> shift = RandomFloats(random_, heads * d, 0.3f);
  const std::vector<float> sums[3] = {RandomSums(4, 1), RandomSums(1, 2), RandomSums(2, -1)};
  const int64_t splits[3] = {4, 1, 2};
  const DeviceBuffer<float> device_sums[3] = {
      DeviceBuffer<float>(sums[0]), DeviceBuffer<float>(sums[1]), DeviceBuffer<float>(sums[2])};
  const DeviceBuffer<float> device_gammas(gammas), device_bias(bias), device_shift(shift);
  for (const bool is_literal : {false, true}) {
    for (const int64_t parts : {2, 3}) {
      CombineParams p = {.batch = sequence.Batch(device_pieces, pieces.size(), 4, kSink, kWindow),
                         .entries = {device_sums[0].get(), splits[0]},
                         .chosen = {device_sums[1].get(), splits[1]},
                         .is_literal = is_literal,
                         .gammas = device_gammas.get(),
                         .gammas_per_head = parts == 2 ? 1 : 3,
                         .gamma_cols = 3 * heads,
                         .head_bias = device_bias.get(),
                         .query_shift = device_shift.get(),
                         .entry_bias = 0.75f};
      if (parts == 3) p.base = {device_sums[2].get(), splits[2]};
      Check(Combine(p, nullptr));
      const std::vector<float> got = sequence.Out();
      std::vector<float> want(got.size());
      for (int64_t at = 0; at < rows_ * heads; ++at) {
        const int64_t t = at / heads, h = at % heads;
        std::vector<float> outs[3];
        double weights[3];
        const float* rows[3];
        for (int64_t i = 0; i < parts; ++i) {
          const int64_t number = p.gammas_per_head;
          const double gamma = i < number ? gammas[(t * 3 + i) * heads + h] : 0;
          std::tie(outs[i], weights[i]) = Finish(sums[i], splits[i], at);
          rows[i] = outs[i].data();
          weights[i] = is_literal ? Sigmoid(gamma) : weights[i] + gamma;
        }
        if (!is_literal) {
          double dot = 0;
          for (int64_t i = 0; i < d; ++i) dot += double{sequence.q(t, h)[i]} * shift[h * d + i];
          weights[0] += GetParam().scale() * dot + bias[h] + 0.75;
          Softmax(weights, parts);
        }
        WeightedSum(rows, weights, parts, d, &want[at * d]);
      }
      EXPECT_LT(RelativeError(got, want), Epsilon(GetParam().dtype) + 2e-6)
          << is_literal << " " << parts;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sweep, CudaCombineTest, testing::ValuesIn(SparseShapes()),
                         [](const auto& info) { return NameOf(info.param); });

}  // namespace
}  // namespace sieve::cuda
