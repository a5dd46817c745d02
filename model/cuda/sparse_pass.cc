#include "model/cuda/sparse_pass.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/block_compress.h"
#include "kernels/cuda/block_queries.h"
#include "kernels/cuda/block_scores.h"
#include "kernels/cuda/combine.h"
#include "kernels/cuda/entry_attention.h"
#include "kernels/cuda/entry_mlp.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/sparse_attention.h"
#include "model/attention/block_score_of.h"
#include "model/cache/geometry.h"
#include "model/cuda/carver.h"
#include "model/cuda/cuda_status.h"
#include "model/cuda/memory.h"

namespace sieve {
namespace {

constexpr int64_t kLeastScratch = int64_t{64} << 20;
constexpr int64_t kMostScratch = int64_t{256} << 20;

// Scratch of the MLPs: for one key/value head after the other, but the sums, which are of all.
struct MlpScratch {
  float* keys = nullptr;    // [num_kv_heads, blocks, entries, d]
  float* values = nullptr;  // likewise
  char* inputs = nullptr;   // [blocks, entries, l d], element
  float* sums = nullptr;    // [blocks, entries, inner]
  char* inner = nullptr;    // [blocks, entries, inner], element
};

MlpScratch CarveMlp(const CudaAdapter& adapter, int64_t element, int64_t blocks, char* base,
                    int64_t* bytes) {
  const AdapterConfig& c = adapter.config();
  const int64_t entries = blocks * c.entries_per_block();
  Carver carver(base);
  MlpScratch scratch;
  scratch.keys = carver.Take<float>(c.num_kv_heads * entries * c.head_dim);
  scratch.values = carver.Take<float>(c.num_kv_heads * entries * c.head_dim);
  scratch.inputs = carver.Take<char>(entries * c.compression_block * c.head_dim * element);
  scratch.sums = carver.Take<float>(entries * adapter.inner());
  scratch.inner = carver.Take<char>(entries * adapter.inner() * element);
  *bytes = carver.bytes();
  return scratch;
}

int64_t MlpBytes(const CudaAdapter& adapter, int64_t element, int64_t blocks) {
  int64_t bytes = 0;
  CarveMlp(adapter, element, blocks, nullptr, &bytes);
  return bytes;
}

cuda::BlockCompressParams CompressOf(const CudaAdapter& adapter, const CudaAdapterLayer& w,
                                     const SparseLayer& layer) {
  const AdapterConfig& c = adapter.config();
  return {
      .kv = layer.attention.kv,
      .num_kv_heads = c.num_kv_heads,
      .layout = adapter.layout(),
      .summaries = layer.summaries,
      .index_k = w.index_k,
      .gate_k = w.gate_k,
      .frequencies = layer.frequencies,
      .interleaved = layer.rope_interleaved,
      .tilt = w.tilt,
      .keys = {.max = c.key_compression == Compression::kMax, .position = w.key_position},
      .values = {.max = c.value_compression == Compression::kMax, .position = w.value_position}};
}

// Entries of keys or values plus their MLP, to the summaries.
cudaError_t AddMlp(const CudaAdapter& adapter, const CudaEntryMlp& mlp,
                   const cuda::BlockCompressParams& compress, bool values,
                   const MlpScratch& scratch, cudaStream_t stream) {
  const AdapterConfig& c = adapter.config();
  const DType dtype = compress.kv.dtype;
  const int64_t entries = compress.num_blocks * c.entries_per_block(), d = c.head_dim;
  const float* const positions = values ? compress.values.position : compress.keys.position;
  for (int64_t head = 0; head < c.num_kv_heads; ++head) {
    const cuda::EntryMlpParams p = {
        .kv = compress.kv,
        .layout = compress.layout,
        .summaries = compress.summaries,
        .blocks = compress.blocks,
        .num_blocks = compress.num_blocks,
        .kv_head = head,
        .values = values,
        .position = positions == nullptr ? nullptr : positions + head * c.compression_block * d};
    float* const sums = (values ? scratch.values : scratch.keys) + head * entries * d;
    SIEVE_TRY_CUDA(cuda::GatherEntries(p, scratch.inputs, stream));
    SIEVE_TRY_CUDA(cuda::MatMul({.weights = mlp.up[head].data,
                                 .x = scratch.inputs,
                                 .y = scratch.sums,
                                 .dtype = dtype,
                                 .num_tokens = entries,
                                 .outputs = mlp.up[head].outputs,
                                 .inputs = mlp.up[head].inputs},
                                stream));
    SIEVE_TRY_CUDA(
        cuda::Gelu(scratch.sums, scratch.inner, dtype, entries * adapter.inner(), stream));
    SIEVE_TRY_CUDA(cuda::MatMul({.weights = mlp.down[head].data,
                                 .x = scratch.inner,
                                 .y = sums,
                                 .dtype = dtype,
                                 .num_tokens = entries,
                                 .outputs = d,
                                 .inputs = mlp.down[head].inputs,
                                 .accumulate = true},
                                stream));
    SIEVE_TRY_CUDA(cuda::StoreEntries(p, sums, stream));
  }
  return cudaSuccess;
}

cudaError_t Compress(const CudaAdapter& adapter, const CudaAdapterLayer& w,
                     const cuda::CompletedBlock* blocks, int64_t count, const SparseLayer& layer,
                     cudaStream_t stream) {
  cuda::BlockCompressParams p = CompressOf(adapter, w, layer);
  p.blocks = blocks;
  p.num_blocks = count;
  const bool keys = !w.keys.up.empty();
  const bool values = !w.values.up.empty() && adapter.layout().entry_values >= 0;
  if (!keys && !values) return cuda::CompressBlocks(p, stream);
  const int64_t element = InfoOf(layer.attention.kv.dtype).bytes;
  for (int64_t done = 0; done < count; done += p.num_blocks) {
    p.blocks = blocks + done;
    p.num_blocks = count - done;
    // As many as there is room for.
    while (p.num_blocks > 1 && MlpBytes(adapter, element, p.num_blocks) > layer.scratch_bytes) {
      p.num_blocks = (p.num_blocks + 1) / 2;
    }
    int64_t bytes = 0;
    const MlpScratch scratch = CarveMlp(adapter, element, p.num_blocks, layer.scratch, &bytes);
    p.pooled_keys = keys ? scratch.keys : nullptr;
    p.pooled_values = values ? scratch.values : nullptr;
    SIEVE_TRY_CUDA(cuda::CompressBlocks(p, stream));
    if (keys) SIEVE_TRY_CUDA(AddMlp(adapter, w.keys, p, false, scratch, stream));
    if (values) SIEVE_TRY_CUDA(AddMlp(adapter, w.values, p, true, scratch, stream));
  }
  return cudaSuccess;
}

// One wave in one layer.
class Wave {
 public:
  Wave(const CudaAdapter& adapter, const CudaAdapterLayer& weights, const SparseWave& wave,
       const AdapterPlan& plan, const char* plan_at, const SparseLayer& layer, cudaStream_t stream)
      : adapter_(adapter),
        c_(adapter.config()),
        w_(weights),
        wave_(wave),
        layer_(layer),
        stream_(stream),
        scratch_(CarveSparseScratch(wave.row, wave.rows, layer.scratch)) {
    batch_.attention = layer.attention;
    batch_.pieces = plan.pieces(plan_at) + wave.pieces.begin;
    batch_.num_pieces = wave.pieces.count;
    batch_.max_tokens = wave.piece_tokens;
    batch_.first_row = wave.first_row;
    batch_.sink_blocks = c_.sink_blocks;
    batch_.window_blocks = c_.window_blocks;
    choices_ = batch_;
    choices_.pieces = plan.choices(plan_at) + wave.choices.begin;
    choices_.num_pieces = wave.choices.count;
    choices_.max_tokens = wave.choice_tokens;
  }

  cudaError_t Run() {
    SIEVE_TRY_CUDA(Select());
    const bool apart = c_.combiner == Combiner::kLiteral || c_.branch_biases;
    SIEVE_TRY_CUDA(Attend(!apart, true, scratch_.chosen));
    if (apart) SIEVE_TRY_CUDA(Attend(true, false, scratch_.base));
    if (has_entries()) SIEVE_TRY_CUDA(AttendToEntries());
    return Combine(apart);
  }

 private:
  bool has_entries() const { return wave_.row.entries > 0; }

  cudaError_t Select() {
    if (c_.selected_blocks == 0) return cudaSuccess;
    if (wave_.row.logits > 0) {
      SIEVE_TRY_CUDA(Project());
      SIEVE_TRY_CUDA(cuda::BlockLogits({.batch = batch_,
                                        .score = BlockScoreOf(c_.selector),
                                        .layout = adapter_.layout(),
                                        .summaries = layer_.summaries,
                                        .projected = scratch_.projected,
                                        .logits = scratch_.logits,
                                        .max_candidates = wave_.row.max_candidates},
                                       stream_));
    }
    return cuda::SelectBlocks({.batch = choices_,
                               .logits = scratch_.logits,
                               .max_candidates = wave_.row.max_candidates,
                               .num_selected = c_.selected_blocks,
                               .selected = scratch_.selected},
                              stream_);
  }

  cudaError_t Project() {
    if (c_.selector == Selector::kIndex) {
      return cuda::IndexQueries({.batch = batch_,
                                 .weights = w_.index_q,
                                 .rank = c_.index_rank,
                                 .out = scratch_.projected},
                                stream_);
    }
    if (c_.selector != Selector::kGate) return cudaSuccess;
    return cuda::GateQueries({.batch = batch_,
                              .weights = w_.gate_q,
                              .cosines = layer_.cosines,
                              .sines = layer_.sines,
                              .interleaved = layer_.rope_interleaved,
                              .out = scratch_.projected},
                             stream_);
  }

  cudaError_t Attend(bool base, bool chosen, float* partials) {
    return cuda::SparseAttention({.batch = batch_,
                                  .base = base,
                                  .chosen = chosen,
                                  .selected = scratch_.selected,
                                  .num_selected = c_.selected_blocks,
                                  .partials = partials,
                                  .max_splits = wave_.row.exact_splits},
                                 stream_);
  }

  cudaError_t AttendToEntries() {
    return cuda::EntryAttention({.batch = batch_,
                                 .layout = adapter_.layout(),
                                 .summaries = layer_.summaries,
                                 .all_blocks = c_.combiner == Combiner::kLiteral,
                                 .selected = scratch_.selected,
                                 .num_selected = c_.selected_blocks,
                                 .partials = scratch_.entries,
                                 .max_splits = wave_.row.entry_splits},
                                stream_);
  }

  cudaError_t Combine(bool apart) {
    const bool tilted = c_.key_compression == Compression::kTilted;
    cuda::CombineParams p = {
        .batch = batch_,
        .chosen = {scratch_.chosen, wave_.row.exact_splits},
        .is_literal = c_.combiner == Combiner::kLiteral,
        .gammas = layer_.gammas,
        .gammas_per_head = c_.combined_parts(),
        .gamma_cols = w_.combine.outputs,
        .head_bias = w_.bias,
        .query_shift = w_.query_shift,
        .entry_bias =
            tilted ? 0 : static_cast<float>(std::log(static_cast<double>(c_.compression_block)))};
    if (has_entries()) p.entries = {scratch_.entries, wave_.row.entry_splits};
    if (apart) p.base = {scratch_.base, wave_.row.exact_splits};
    return cuda::Combine(p, stream_);
  }

  const CudaAdapter& adapter_;
  const AdapterConfig& c_;
  const CudaAdapterLayer& w_;
  const SparseWave& wave_;
  const SparseLayer& layer_;
  const cudaStream_t stream_;
  const SparseScratch scratch_;
  cuda::SparseBatch batch_, choices_;
};

}  // namespace

int64_t GammaCols(int64_t num_heads) { return (3 * num_heads + 15) / 16 * 16; }

int64_t SparseScratchFor(const ModelConfig& model, int64_t max_tokens, int64_t max_blocks) {
  AdapterConfig config;
  config.num_heads = model.num_heads;
  config.num_kv_heads = model.num_kv_heads;
  config.head_dim = model.head_dim;
  config.combiner = Combiner::kLiteral;
  const SparseRow row = SparseRowOf(config, max_blocks - 1, /*single=*/false);
  return std::max(SparseScratchBytes(row, kPageTokens),
                  std::clamp(SparseScratchBytes(row, max_tokens), kLeastScratch, kMostScratch));
}

absl::Status CheckScratch(const CudaAdapter& adapter, DType dtype, int64_t max_blocks,
                          int64_t scratch_bytes) {
  const AdapterConfig& c = adapter.config();
  const int64_t own = max_blocks - 1;
  if (max_blocks > cuda::kMostBlocks) {
    return absl::InvalidArgumentError(
        absl::StrCat("on CUDA, adapters are computed for contexts of up to ",
                     cuda::kMostBlocks * kPageTokens, " tokens, not ", max_blocks * kPageTokens));
  }
  const bool mlp = c.key_compression == Compression::kMlp ||
                   c.value_compression == Compression::kMlp || c.value_residual_mlp;
  const int64_t needed =
      std::max({SparseScratchBytes(SparseRowOf(c, own, false), AdapterPlan::LeastRows(c)),
                SparseScratchBytes(SparseRowOf(c, own, true), 1),
                mlp ? MlpBytes(adapter, InfoOf(dtype).bytes, 1) : 0});
  if (needed <= scratch_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "the adapter needs ", needed, " bytes for a part of a step; there are ", scratch_bytes));
}

cudaError_t AttendSparsely(const CudaAdapter& adapter, int64_t layer_number,
                           const AdapterGroup& group, const AdapterPlan& plan, const char* plan_at,
                           const SparseLayer& layer, cudaStream_t stream) {
  const CudaAdapterLayer& w = adapter.layer(layer_number);
  SIEVE_TRY_CUDA(Compress(adapter, w, plan.completed(plan_at) + group.completed.begin,
                          group.completed.count, layer, stream));
  if (group.waves.empty()) return cudaSuccess;
  if (w.combine.outputs > 0) {
    SIEVE_TRY_CUDA(cuda::MatMul({.weights = w.combine.data,
                                 .x = layer.hidden,
                                 .bias = w.combine.bias,
                                 .y = layer.gammas,
                                 .dtype = layer.attention.kv.dtype,
                                 .num_tokens = layer.tokens,
                                 .outputs = w.combine.outputs,
                                 .inputs = w.combine.inputs},
                                stream));
  }
  for (const SparseWave& wave : group.waves) {
    SIEVE_TRY_CUDA(Wave(adapter, w, wave, plan, plan_at, layer, stream).Run());
  }
  return cudaSuccess;
}

}  // namespace sieve
