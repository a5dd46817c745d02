#include "model/attention/nsa_piece.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

#include "kernels/block_scores.h"
#include "kernels/compressed_attention.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "kernels/merge.h"
#include "kernels/paged_attention.h"
#include "model/attention/block_score_of.h"
#include "model/attention/candidate_blocks.h"
#include "model/cache/geometry.h"

namespace sieve {
namespace {

// Hands out parts of a buffer; without one it only counts.
class Arena {
 public:
  explicit Arena(float* base) : base_(base) {}

  template <class T>
  T* Take(int64_t count) {
    T* part = base_ != nullptr ? reinterpret_cast<T*>(base_ + used_) : nullptr;
    used_ += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 16;
    return part;
  }
  int64_t used() const { return used_; }

 private:
  float* const base_;
  int64_t used_ = 0;
};

// A piece's scratch: W tokens, G query heads, n blocks.
struct Workspace {
  Workspace(const AdapterConfig& c, const SummaryLayout& layout, int64_t tokens, int64_t blocks,
            Arena* arena) {
    const int64_t d = c.head_dim, group = c.num_heads / c.num_kv_heads, rows = tokens * group;
    attention = arena->Take<float>(PagedAttentionScratchFloats(tokens, group, d));
    compressed = arena->Take<float>(CompressedAttentionScratchFloats(layout, group, blocks));
    block_logits = arena->Take<float>(BlockLogitsScratchFloats(layout));
    matmul = arena->Take<float>(MatMulScratchFloats(std::max(c.hidden_size, group * d)));
    projected = arena->Take<float>(rows * std::max(d, c.index_rank));
    unrotated = arena->Take<float>(rows * d);
    logits = arena->Take<float>(rows * blocks);
    scores = arena->Take<float>(blocks);
    order = arena->Take<int32_t>(blocks);
    selected = arena->Take<uint64_t>(blocks);
    blocks_read = arena->Take<int32_t>(blocks);
    readers = arena->Take<uint64_t>(blocks);
    gammas = arena->Take<float>(tokens * c.combined_parts() * c.num_heads);
    head_bias = arena->Take<float>(group);
    compressed_out = arena->Take<float>(group * d);
    compressed_lse = arena->Take<float>(group);
    for (int64_t part = 0; part < 2; ++part) {
      out[part] = arena->Take<float>(rows * d);
      lse[part] = arena->Take<float>(rows);
    }
  }

  float *attention, *compressed, *block_logits, *matmul;  // of kernels
  float* projected;        // [W, G, r] of the index or [W, d] of the gate
  float* unrotated;        // [W, G, d]
  float* logits;           // [W, G, candidates]
  float* scores;           // [candidates]
  int32_t* order;          // [candidates]
  uint64_t* selected;      // [candidates], bit t: token t selected it
  int32_t* blocks_read;    // [n]
  uint64_t* readers;       // [n]
  float* gammas;           // [W, parts, num_heads]
  float* head_bias;        // [G]
  float* compressed_out;   // [G, d], of one token
  float* compressed_lse;   // [G]
  float *out[2], *lse[2];  // [W, G, d] and [W, G]
};

bool HasBit(uint64_t bits, int64_t i) { return (bits >> i & 1) != 0; }

class PieceAttention {
 public:
  PieceAttention(const NsaLayer& layer, const NsaPiece& piece, const NsaHeads& heads,
                 const Workspace& work)
      : c_(*layer.config),
        layer_(layer),
        piece_(piece),
        args_(*piece.args),
        kv_head_(heads.kv_head),
        heads_(heads),
        work_(work),
        d_(c_.head_dim),
        group_(c_.num_heads / c_.num_kv_heads),
        scale_(1.0f / std::sqrt(static_cast<float>(d_))),
        block_table_(args_.batch->block_tables.data() +
                     piece.sequence * args_.batch->block_table_stride),
        q_(args_.q + piece.begin * args_.q_stride + kv_head_ * group_ * d_),
        out_(args_.out + piece.begin * args_.out_stride + kv_head_ * group_ * d_),
        everyone_(~uint64_t{0} >> (64 - piece.count)),
        own_block_(piece.first_position / kPageTokens),
        candidates_begin_(CandidateBlocks(c_, own_block_).begin),
        candidates_end_(CandidateBlocks(c_, own_block_).end) {}

  void Run() {
    Select();
    if (c_.combiner == Combiner::kLiteral) {
      Attend(kSelected, work_.out[0], group_ * d_, work_.lse[0]);
      Attend(kBase, work_.out[1], group_ * d_, work_.lse[1]);
      Gammas();
      for (int64_t t = 0; t < piece_.count; ++t) CombineLiterally(t);
    } else if (!has_rest() || !c_.tail) {
      Attend(kSelected | kBase, out_, args_.out_stride, nullptr);
    } else {
      if (c_.branch_biases) {
        Attend(kSelected, work_.out[0], group_ * d_, work_.lse[0]);
        Attend(kBase, work_.out[1], group_ * d_, work_.lse[1]);
      } else {
        Attend(kSelected | kBase, work_.out[0], group_ * d_, work_.lse[0]);
      }
      Gammas();
      for (int64_t t = 0; t < piece_.count; ++t) CombineByLogSumExp(t);
    }
  }

 private:
  enum Part { kSelected = 1, kBase = 2 };

  int64_t candidates() const { return candidates_end_ - candidates_begin_; }
  // Whether some candidates are not selected: the same for all tokens.
  bool has_rest() const { return candidates() > c_.selected_blocks; }
  const float* q(int64_t t) const { return q_ + t * args_.q_stride; }

  // Fills work_.selected.
  void Select() {
    const int64_t n = candidates();
    std::fill(work_.selected, work_.selected + n, has_rest() ? 0 : everyone_);
    if (!has_rest() || c_.selected_blocks == 0) return;
    if (c_.selector == Selector::kOracle) {
      OracleLogits();
    } else {
      Logits();
    }
    const int64_t tokens_a_choice = piece_.shared ? piece_.count : 1;
    for (int64_t t = 0; t < piece_.count; t += tokens_a_choice) {
      std::fill(work_.scores, work_.scores + n, 0.0f);
      AddProbabilities(work_.logits + t * group_ * n, tokens_a_choice * group_, n, n, work_.scores);
      SelectLargest(work_.scores, n, c_.selected_blocks, work_.order);
      for (int64_t i = 0; i < c_.selected_blocks; ++i) {
        work_.selected[work_.order[i]] |= piece_.shared ? everyone_ : uint64_t{1} << t;
      }
    }
  }

  void Logits() {
    BlockLogits({.score = Score(),
                 .layout = *layer_.layout,
                 .summaries = args_.summaries,
                 .kv_head = kv_head_,
                 .block_table = block_table_,
                 .begin = candidates_begin_,
                 .end = candidates_end_,
                 .q = q_,
                 .q_stride = args_.q_stride,
                 .tokens = piece_.count,
                 .group = group_,
                 .projected = work_.projected,
                 .scale = scale_,
                 .logits = work_.logits,
                 .logit_stride = candidates()},
                work_.block_logits);
  }

  // The kernel's name of the selector; prepares the queries that it reads.
  BlockScore Score() {
    if (c_.selector == Selector::kIndex) ProjectToIndex();
    if (c_.selector == Selector::kGate) ProjectToGate();
    return BlockScoreOf(c_.selector);
  }

  void ProjectToIndex() {
    const int64_t rank = c_.index_rank;
    for (int64_t h = 0; h < group_; ++h) {
      MatMul({.weights = {layer_.index_q + kv_head_ * rank * d_, DType::kF32, rank, d_},
              .x = q_ + h * d_,
              .x_stride = args_.q_stride,
              .tokens = piece_.count,
              .y = work_.projected + h * rank,
              .y_stride = group_ * rank,
              .row_end = rank},
             work_.matmul);
    }
  }

  void ProjectToGate() {
    const int64_t half = d_ / 2, cols = group_ * d_;
    for (int64_t t = 0; t < piece_.count; ++t) {
      float* x = work_.unrotated + t * cols;
      std::copy(q(t), q(t) + cols, x);
      RotateBack(x, group_, d_, args_.cosines + (piece_.begin + t) * half,
                 args_.sines + (piece_.begin + t) * half, layer_.rope_interleaved);
    }
    const float* weights = layer_.weights->gate_q.data() + kv_head_ * d_ * cols;
    MatMul({.weights = {weights, DType::kF32, d_, cols},
            .x = work_.unrotated,
            .x_stride = cols,
            .tokens = piece_.count,
            .y = work_.projected,
            .y_stride = d_,
            .row_end = d_},
           work_.matmul);
    for (int64_t t = 0; t < piece_.count; ++t) {
      ApplyRope(work_.projected + t * d_, 1, d_, args_.cosines + (piece_.begin + t) * half,
                args_.sines + (piece_.begin + t) * half, layer_.rope_interleaved);
    }
  }

  // The log-sum-exp of each candidate's true logits.
  void OracleLogits() {
    for (int64_t i = 0; i < candidates(); ++i) {
      work_.blocks_read[0] = static_cast<int32_t>(candidates_begin_ + i);
      PagedAttentionParams params = Attention(work_.out[0], group_ * d_, work_.lse[0]);
      params.head_begin = 0;  // the choice is the group's
      params.head_end = group_;
      params.num_blocks = 1;
      params.readers = nullptr;
      PagedAttention(params, work_.attention);
      for (int64_t row = 0; row < piece_.count * group_; ++row) {
        work_.logits[row * candidates() + i] = work_.lse[0][row];
      }
    }
  }

  // Of the group alone: its key/value head is head 0.
  PagedAttentionParams Attention(float* out, int64_t out_stride, float* lse) const {
    PagedKvView kv = args_.kv;
    kv.base += kv_head_ * kv.head_stride;
    return {.kv = kv,
            .block_table = block_table_,
            .q = q_,
            .q_stride = args_.q_stride,
            .out = out,
            .out_stride = out_stride,
            .tokens = piece_.count,
            .first_position = piece_.first_position,
            .group = group_,
            .head_begin = heads_.begin,
            .head_end = heads_.end,
            .scale = scale_,
            .blocks = work_.blocks_read,
            .num_blocks = 0,
            .readers = work_.readers,
            .log_sum_exp = lse,
            .log_sum_exp_stride = group_};
  }

  // Exact attention to the blocks of `parts`, in order of position.
  void Attend(int parts, float* out, int64_t out_stride, float* lse) {
    PagedAttentionParams params = Attention(out, out_stride, lse);
    for (int64_t b = 0; b <= own_block_; ++b) {
      const bool candidate = b >= candidates_begin_ && b < candidates_end_;
      uint64_t readers = 0;
      if (candidate && (parts & kSelected) != 0) readers = work_.selected[b - candidates_begin_];
      if (!candidate && (parts & kBase) != 0) readers = everyone_;
      if (readers == 0) continue;
      work_.blocks_read[params.num_blocks] = static_cast<int32_t>(b);
      work_.readers[params.num_blocks++] = readers;
    }
    PagedAttention(params, work_.attention);
  }

  // gammas[t, part, h] = w . x_t + b.
  void Gammas() {
    const int64_t rows = c_.combined_parts() * c_.num_heads;
    for (int64_t part = 0; part < c_.combined_parts(); ++part) {
      const int64_t first = part * c_.num_heads + kv_head_ * group_;
      MatMul({.weights = {layer_.weights->combine_weight.data(), DType::kF32, rows, c_.hidden_size},
              .bias = layer_.weights->combine_bias.data(),
              .x = args_.hidden + piece_.begin * args_.hidden_stride,
              .x_stride = args_.hidden_stride,
              .tokens = piece_.count,
              .y = work_.gammas,
              .y_stride = rows,
              .row_begin = first,
              .row_end = first + group_},
             work_.matmul);
    }
  }

  double Gamma(int64_t t, int64_t part, int64_t h) const {
    const int64_t row = t * c_.combined_parts() + part;
    return work_.gammas[row * c_.num_heads + kv_head_ * group_ + h];
  }

  // Attention of one token to the compressed entries of the first `count` blocks of
  // work_.blocks_read.
  void AttendCompressed(int64_t t, int64_t count) {
    const int64_t first = heads_.begin;
    for (int64_t h = first; h < heads_.end; ++h) work_.head_bias[h] = HeadBias(t, h);
    CompressedAttention({.layout = *layer_.layout,
                         .summaries = args_.summaries,
                         .kv_head = kv_head_,
                         .block_table = block_table_,
                         .blocks = work_.blocks_read,
                         .num_blocks = count,
                         .q = q(t) + first * d_,
                         .group = heads_.end - first,
                         .scale = scale_,
                         .head_bias = work_.head_bias + first,
                         .out = work_.compressed_out + first * d_,
                         .log_sum_exp = work_.compressed_lse + first},
                        work_.compressed);
  }

  // What the logits of all entries of a head have in common.
  float HeadBias(int64_t t, int64_t h) const {
    const AdapterLayer& w = *layer_.weights;
    const int64_t head = kv_head_ * group_ + h;
    double bias = w.bias.empty() ? 0 : w.bias[head];
    if (c_.key_compression != Compression::kTilted) {
      return static_cast<float>(bias + std::log(static_cast<double>(c_.compression_block)));
    }
    const float* shift = w.query_shift.data() + head * d_;
    const float* query = q(t) + h * d_;
    double dot = 0;
    for (int64_t i = 0; i < d_; ++i) dot += static_cast<double>(query[i]) * shift[i];
    return static_cast<float>(bias + scale_ * dot);
  }

  void CombineByLogSumExp(int64_t t) {
    int64_t rest = 0;
    for (int64_t i = 0; i < candidates(); ++i) {
      if (!HasBit(work_.selected[i], t)) {
        work_.blocks_read[rest++] = static_cast<int32_t>(candidates_begin_ + i);
      }
    }
    AttendCompressed(t, rest);
    for (int64_t h = heads_.begin; h < heads_.end; ++h) {
      const int64_t row = t * group_ + h;
      double weights[3] = {work_.compressed_lse[h] + Gamma(t, 0, h), work_.lse[0][row], 0};
      if (c_.branch_biases) {
        weights[1] += Gamma(t, 1, h);
        weights[2] = work_.lse[1][row] + Gamma(t, 2, h);
      }
      const int64_t parts = c_.branch_biases ? 3 : 2;
      Softmax(weights, parts);
      Write(t, h, weights, parts);
    }
  }

  void CombineLiterally(int64_t t) {
    for (int64_t b = 0; b < own_block_; ++b) work_.blocks_read[b] = static_cast<int32_t>(b);
    AttendCompressed(t, own_block_);
    for (int64_t h = heads_.begin; h < heads_.end; ++h) {
      const double weights[] = {Sigmoid(Gamma(t, 0, h)), Sigmoid(Gamma(t, 1, h)),
                                Sigmoid(Gamma(t, 2, h))};
      Write(t, h, weights, std::size(weights));
    }
  }

  void Write(int64_t t, int64_t h, const double* weights, int64_t parts) {
    const int64_t row = t * group_ + h;
    const float* const rows[] = {work_.compressed_out + h * d_, work_.out[0] + row * d_,
                                 work_.out[1] + row * d_};
    WeightedSum(rows, weights, parts, d_, out_ + t * args_.out_stride + h * d_);
  }

  const AdapterConfig& c_;
  const NsaLayer& layer_;
  const NsaPiece& piece_;
  const AttentionArgs& args_;
  const int64_t kv_head_;
  const NsaHeads& heads_;
  const Workspace& work_;
  const int64_t d_;
  const int64_t group_;
  const float scale_;
  const int32_t* const block_table_;
  const float* const q_;     // of the piece's first token and the group's first head
  float* const out_;         // the same
  const uint64_t everyone_;  // a bit for each token
  const int64_t own_block_;
  const int64_t candidates_begin_, candidates_end_;  // blocks
};

}  // namespace

int64_t NsaPieceScratchFloats(const AdapterConfig& config, const SummaryLayout& layout,
                              int64_t tokens, int64_t blocks) {
  Arena arena(nullptr);
  Workspace(config, layout, tokens, blocks, &arena);
  return arena.used();
}

void AttendPiece(const NsaLayer& layer, const NsaPiece& piece, const NsaHeads& heads,
                 float* scratch) {
  const int64_t blocks = piece.first_position / kPageTokens + 1;
  Arena arena(scratch);
  const Workspace work(*layer.config, *layer.layout, piece.count, blocks, &arena);
  PieceAttention(layer, piece, heads, work).Run();
}

}  // namespace sieve
