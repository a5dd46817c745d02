#include "model/attention/nsa_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/block_compress.h"
#include "kernels/elementwise.h"
#include "model/attention/adapter_check.h"
#include "model/attention/nsa_piece.h"
#include "model/attention/summary_layout.h"

namespace sieve {
namespace {

// Tokens that choose for themselves share a pass over the union of their blocks.
constexpr int64_t kPieceTokens = 16;

// [K, d, r] -> [K, r, d].
std::vector<float> TransposeHeads(const std::vector<float>& in, int64_t d, int64_t r) {
  std::vector<float> out(in.size());
  for (int64_t i = 0; i < static_cast<int64_t>(in.size()); ++i) {
    const int64_t head = i / (d * r), channel = i / r % d, rank = i % r;
    out[(head * r + rank) * d + channel] = in[i];
  }
  return out;
}

// Room for the angles of a block's positions, a multiple of 16.
int64_t AnglesFloats(int64_t head_dim) { return kPageTokens * head_dim; }

const float* HeadOrNull(const std::vector<float>& v, int64_t head, int64_t size) {
  return v.empty() ? nullptr : v.data() + head * size;
}

}  // namespace

absl::StatusOr<std::unique_ptr<NsaAttention>> NsaAttention::Create(
    const ModelConfig& model, const CacheGeometry& cache, std::shared_ptr<const Adapter> adapter) {
  if (absl::Status status = CheckAdapter(model, cache, *adapter); !status.ok()) return status;
  return std::unique_ptr<NsaAttention>(new NsaAttention(model, cache, std::move(adapter)));
}

NsaAttention::NsaAttention(const ModelConfig& model, const CacheGeometry& cache,
                           std::shared_ptr<const Adapter> adapter)
    : adapter_(std::move(adapter)),
      layout_(SummaryLayoutOf(adapter_->config, cache.dtype)),
      frequencies_(RopeFrequencies(model)),
      rope_interleaved_(model.rope_interleaved) {
  for (const AdapterLayer& layer : adapter_->layers) {
    index_q_.push_back(
        TransposeHeads(layer.index_q, adapter_->config.head_dim, adapter_->config.index_rank));
  }
}

int64_t NsaAttention::WeightBytes() const {
  size_t floats = 0;
  for (const std::vector<float>& q : index_q_) floats += q.size();
  for (const AdapterTensor& tensor : AdapterTensors(config())) {
    for (const AdapterLayer& layer : adapter_->layers) floats += (layer.*tensor.values).size();
  }
  return static_cast<int64_t>(floats * sizeof(float));
}

int64_t NsaAttention::PieceTokens() const {
  const int64_t tile = adapter_->config.query_tile;
  return tile > 1 ? tile : kPieceTokens;
}

int64_t NsaAttention::ScratchFloats(const Batch& batch) const {
  const AdapterConfig& config = adapter_->config;
  int64_t blocks = 1;
  for (size_t s = 0; s + 1 < batch.offsets.size(); ++s) {
    blocks = std::max<int64_t>(blocks, batch.positions[batch.offsets[s + 1] - 1] / kPageTokens + 1);
  }
  const bool mlp = config.key_compression == Compression::kMlp ||
                   config.value_compression == Compression::kMlp || config.value_residual_mlp;
  const int64_t compress = AnglesFloats(config.head_dim) +
                           BlockCompressScratchFloats(layout_, mlp ? config.inner_size() : 0);
  return std::max(compress, NsaPieceScratchFloats(config, layout_, PieceTokens(), blocks));
}

void NsaAttention::Append(const AttentionArgs& args, WorkerScratch scratch,
                          ThreadPool* pool) const {
  if (layout_.bytes == 0) return;
  const Batch& batch = *args.batch;
  const int64_t heads = adapter_->config.num_kv_heads;
  const auto first_block = [&](int64_t s) {
    return batch.positions[batch.offsets[s]] / kPageTokens;
  };
  const auto completed = [&](int64_t s) {
    return (batch.positions[batch.offsets[s + 1] - 1] + 1) / kPageTokens - first_block(s);
  };
  int64_t blocks = 0;
  for (const int32_t s : args.sequences) blocks += completed(s);
  pool->ParallelFor(blocks * heads, [&](int64_t task, int worker) {
    int64_t block = task / heads;
    for (const int32_t s : args.sequences) {
      if (block < completed(s)) {
        Compress(args, s, first_block(s) + block, task % heads, scratch.of(worker));
        return;
      }
      block -= completed(s);
    }
  });
}

void NsaAttention::Compress(const AttentionArgs& args, int64_t sequence, int64_t block,
                            int64_t kv_head, float* scratch) const {
  const AdapterConfig& c = adapter_->config;
  const AdapterLayer& w = adapter_->layers[args.layer];
  const int64_t d = c.head_dim, half = d / 2, entry = c.compression_block * d;
  const int64_t page = args.batch->block_tables[sequence * args.batch->block_table_stride + block];
  float* cosines = scratch;
  float* sines = cosines + kPageTokens * half;
  if (layout_.gate >= 0) {
    for (int64_t j = 0; j < kPageTokens; ++j) {
      RopeAngles(frequencies_.data(), half, block * kPageTokens + j, cosines + j * half,
                 sines + j * half);
    }
  }
  const auto side = [&](Compression method, const std::vector<float>& position,
                        const std::vector<float>& up, const std::vector<float>& down) {
    const int64_t mlp = c.shared_compression ? 0 : kv_head;
    return EntryParams{.max = method == Compression::kMax,
                       .position = HeadOrNull(position, kv_head, entry),
                       .up = HeadOrNull(up, mlp, c.inner_size() * entry),
                       .down = HeadOrNull(down, mlp, d * c.inner_size()),
                       .inner = up.empty() ? 0 : c.inner_size()};
  };
  CompressBlock({.kv = args.kv,
                 .page = page,
                 .kv_head = kv_head,
                 .layout = layout_,
                 .summary = args.summaries.of(page, kv_head),
                 .index_k = HeadOrNull(w.index_k, kv_head, d * c.index_rank),
                 .gate_k = HeadOrNull(w.gate_k, kv_head, 3 * d * d),
                 .cosines = cosines,
                 .sines = sines,
                 .interleaved = rope_interleaved_,
                 .tilt = HeadOrNull(w.tilt, kv_head, d),
                 .keys = side(c.key_compression, w.key_position, w.key_up, w.key_down),
                 .values = side(c.value_compression, w.value_position, w.value_up, w.value_down)},
                scratch + AnglesFloats(d));
}

int64_t NsaAttention::CountPieces(const Batch& batch, int64_t sequence) const {
  const int64_t first = batch.positions[batch.offsets[sequence]];
  const int64_t last = batch.positions[batch.offsets[sequence + 1] - 1];
  return last / PieceTokens() - first / PieceTokens() + 1;
}

NsaPiece NsaAttention::PieceAt(const AttentionArgs& args, int64_t sequence, int64_t index) const {
  const Batch& batch = *args.batch;
  const int64_t tokens = PieceTokens(), tile = adapter_->config.query_tile;
  const int64_t first = batch.positions[batch.offsets[sequence]];
  const int64_t last = batch.positions[batch.offsets[sequence + 1] - 1];
  const int64_t start = (first / tokens + index) * tokens;  // a position
  const int64_t begin = std::max(first, start), end = std::min(last + 1, start + tokens);
  return {.args = &args,
          .sequence = sequence,
          .begin = batch.offsets[sequence] + begin - first,
          .count = end - begin,
          .first_position = begin,
          .shared = tile > 1 && start + tile <= batch.prompt(sequence)};
}

void NsaAttention::Forward(const AttentionArgs& args, WorkerScratch scratch,
                           ThreadPool* pool) const {
  const AdapterConfig& config = adapter_->config;
  const NsaLayer layer = {.config = &config,
                          .weights = &adapter_->layers[args.layer],
                          .layout = &layout_,
                          .index_q = index_q_[args.layer].data(),
                          .rope_interleaved = rope_interleaved_};
  int64_t pieces = 0;
  for (const int32_t s : args.sequences) pieces += CountPieces(*args.batch, s);
  // A group's heads share their choice and the keys best in one task; where that leaves threads
  // idle, as with one sequence that generates, each head is one and makes the choice again.
  const int64_t group = config.num_heads / config.num_kv_heads;
  const int64_t heads_a_task = pieces * config.num_kv_heads >= pool->num_threads() ? group : 1;
  const int64_t tasks_a_piece = config.num_heads / heads_a_task;
  pool->ParallelFor(pieces * tasks_a_piece, [&](int64_t task, int worker) {
    // Last pieces first: they have the longest contexts.
    int64_t piece = pieces - 1 - task / tasks_a_piece;
    const int64_t head = task % tasks_a_piece * heads_a_task;
    const NsaHeads heads = {head / group, head % group, head % group + heads_a_task};
    for (const int32_t s : args.sequences) {
      const int64_t own = CountPieces(*args.batch, s);
      if (piece < own) {
        AttendPiece(layer, PieceAt(args, s, piece), heads, scratch.of(worker));
        return;
      }
      piece -= own;
    }
  });
}

}  // namespace sieve
