#include "model/cuda/forward_pass.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cuda/decode_attention.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/prefill_attention.h"
#include "kernels/cuda/rope.h"
#include "model/cuda/carver.h"
#include "model/cuda/cuda_status.h"

namespace sieve {
namespace {

float ScoreScale(const ModelConfig& config) {
  return 1 / std::sqrt(static_cast<float>(config.head_dim));
}

}  // namespace

ForwardPass::Activations ForwardPass::Carve(const StepLimits& limits, char* base,
                                            int64_t* bytes) const {
  const int64_t t = limits.max_tokens, element = InfoOf(dtype_).bytes;
  const int64_t q_cols = config_.num_heads * config_.head_dim;
  const int64_t splits =
      (limits.max_pages * cuda::kPageTokens + cuda::kSplitTokens - 1) / cuda::kSplitTokens;
  Carver carver(base);
  Activations act;
  act.hidden = carver.Take<float>(t * config_.hidden_size);
  act.row_hidden = carver.Take<float>(limits.max_sequences * config_.hidden_size);
  act.normed = carver.Take<char>(t * config_.hidden_size * element);
  act.qkv = carver.Take<float>(t * std::max(QkvCols(), config_.hidden_size));
  act.q = carver.Take<char>(t * q_cols * element);
  act.attention = carver.Take<char>(t * q_cols * element);
  act.gate_up =
      carver.Take<float>(cuda::GatedMatMulScratchFloats({.dtype = dtype_,
                                                         .num_tokens = t,
                                                         .intermediate = config_.intermediate_size,
                                                         .inputs = config_.hidden_size}));
  act.inner = carver.Take<char>(t * config_.intermediate_size * element);
  act.cosines = carver.Take<float>(t * config_.head_dim / 2);
  act.sines = carver.Take<float>(t * config_.head_dim / 2);
  // Long contexts of many sequences at once do not fit the cache: splits are bounded by what it
  // holds.
  act.partials = carver.Take<float>(
      cuda::DecodePartialFloats(limits.max_sequences, config_.num_heads, config_.head_dim, splits));
  act.logits = carver.Take<float>(limits.max_sequences * config_.vocabulary_size);
  act.frequencies = carver.Take<float>(config_.head_dim / 2);
  act.step_partials = carver.Take<float>(cuda::DecodePartialFloats(
      cuda::kMaxDecodeStepTokens, config_.num_heads, config_.head_dim, splits));
  act.layers = carver.Take<cuda::DecodeStepLayer>(config_.num_layers);
  act.counters = carver.Take<uint32_t>(2);
  if (scratch_bytes_ > 0) {
    act.gammas = carver.Take<float>(t * GammaCols(config_.num_heads));
    act.scratch = carver.Take<char>(scratch_bytes_);
  }
  *bytes = carver.bytes();
  return act;
}

absl::StatusOr<ForwardPass> ForwardPass::Create(const ModelConfig& config,
                                                const CudaWeights* weights, DType dtype,
                                                const StepLimits& limits, int64_t scratch_bytes) {
  ForwardPass pass;
  pass.config_ = config;
  pass.weights_ = weights;
  pass.dtype_ = dtype;
  pass.scratch_bytes_ = scratch_bytes;
  int64_t bytes = 0;
  pass.Carve(limits, nullptr, &bytes);
  absl::StatusOr<CudaMemory> memory = CudaMemory::Device(bytes, "the activations of a step");
  if (!memory.ok()) return memory.status();
  pass.memory_ = *std::move(memory);
  pass.act_ = pass.Carve(limits, pass.memory_.data(), &bytes);
  pass.max_splits_ =
      (limits.max_pages * cuda::kPageTokens + cuda::kSplitTokens - 1) / cuda::kSplitTokens;
  if (absl::Status status = pass.UploadConstants(); !status.ok()) return status;
  return pass;
}

absl::Status ForwardPass::UploadConstants() {
  const std::vector<double> frequencies = RopeFrequencies(config_);
  const std::vector<float> rounded(frequencies.begin(), frequencies.end());
  SIEVE_RETURN_IF_CUDA(
      cudaMemcpy(act_.frequencies, rounded.data(), rounded.size() * 4, cudaMemcpyHostToDevice),
      "copying the rotary frequencies");
  std::vector<cuda::DecodeStepLayer> layers;
  for (const CudaLayerWeights& w : weights_->layers) {
    layers.push_back({.qkv = w.qkv.data,
                      .o = w.o.data,
                      .gate_up = w.gate_up.data,
                      .down = w.down.data,
                      .qkv_bias = w.qkv.bias,
                      .o_bias = w.o.bias,
                      .gate_up_bias = w.gate_up.bias,
                      .down_bias = w.down.bias,
                      .attention_norm = w.attention_norm,
                      .mlp_norm = w.mlp_norm});
  }
  SIEVE_RETURN_IF_CUDA(cudaMemcpy(act_.layers, layers.data(), layers.size() * sizeof(layers[0]),
                                  cudaMemcpyHostToDevice),
                       "copying the places of the weights");
  SIEVE_RETURN_IF_CUDA(cudaMemset(act_.counters, 0, 2 * sizeof(uint32_t)), "clearing counters");
  return absl::OkStatus();
}

cuda::PagedKv ForwardPass::Layer(int64_t layer) const {
  return {cache_.base + layer * cache_.layer_bytes, cache_.page_bytes,
          cache_.page_bytes / config_.num_kv_heads, dtype_, config_.head_dim};
}

cuda::DecodeStepParams ForwardPass::DecodeStepOf(const StepArrays& arrays, const StepShape& shape,
                                                 int64_t table_stride) const {
  return {.layers = act_.layers,
          .embedding = weights_->embedding.data,
          .head = weights_->head.data,
          .final_norm = weights_->final_norm,
          .frequencies = act_.frequencies,
          .dtype = dtype_,
          .num_layers = static_cast<int>(config_.num_layers),
          .hidden = static_cast<int>(config_.hidden_size),
          .intermediate = static_cast<int>(config_.intermediate_size),
          .num_heads = static_cast<int>(config_.num_heads),
          .num_kv_heads = static_cast<int>(config_.num_kv_heads),
          .vocabulary = static_cast<int>(config_.vocabulary_size),
          .rope_interleaved = config_.rope_interleaved,
          .epsilon = static_cast<float>(config_.rms_norm_epsilon),
          .scale = ScoreScale(config_),
          .num_tokens = static_cast<int>(shape.tokens),
          .tokens = arrays.tokens,
          .positions = arrays.positions,
          .sequences = arrays.sequences,
          .block_tables = arrays.block_tables,
          .block_table_stride = table_stride,
          .kv = Layer(0),
          .layer_stride = cache_.layer_bytes,
          .max_splits = max_splits_,
          .residual = act_.hidden,
          .qkv = act_.qkv,
          .attention = act_.attention,
          .inner = act_.inner,
          .partials = act_.step_partials,
          .counters = act_.counters,
          .logits = act_.logits};
}

cudaError_t ForwardPass::Launch(const StepArrays& arrays, const StepShape& shape,
                                int64_t table_stride, const AdapterStep& adapters,
                                cudaStream_t stream) {
  if (shape.only_decodes) {
    const cuda::DecodeStepParams step = DecodeStepOf(arrays, shape, table_stride);
    if (cuda::DecodeStepSupports(step)) return cuda::DecodeStep(step, stream);
  }
  SIEVE_TRY_CUDA(cuda::Embed({.table = weights_->embedding.data,
                              .dtype = dtype_,
                              .tokens = arrays.tokens,
                              .out = act_.hidden,
                              .num_tokens = shape.tokens,
                              .hidden = config_.hidden_size},
                             stream));
  SIEVE_TRY_CUDA(Angles(arrays.positions, shape.tokens, stream));
  Rows rows = {act_.hidden, act_.attention, shape.tokens};
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    if (layer + 1 < config_.num_layers) {
      SIEVE_TRY_CUDA(QkvBlock(arrays, {act_.hidden, arrays.positions, shape.tokens}, table_stride,
                              layer, stream));
      SIEVE_TRY_CUDA(Attend(arrays, shape, table_stride, adapters, layer, stream));
    } else {
      SIEVE_TRY_CUDA(LastAttention(arrays, shape, table_stride, adapters, &rows, stream));
      if (rows.count == 0) return cudaSuccess;
    }
    SIEVE_TRY_CUDA(AddProduct(weights_->layers[layer].o, rows.attention, rows, stream));
    SIEVE_TRY_CUDA(MlpBlock(rows, layer, stream));
  }
  return Head(rows, stream);
}

cudaError_t ForwardPass::Angles(const int32_t* positions, int64_t tokens, cudaStream_t stream) {
  return cuda::RopeAngles({.positions = positions,
                           .frequencies = act_.frequencies,
                           .cosines = act_.cosines,
                           .sines = act_.sines,
                           .num_tokens = tokens,
                           .half = config_.head_dim / 2},
                          stream);
}

cudaError_t ForwardPass::LastAttention(const StepArrays& arrays, const StepShape& shape,
                                       int64_t table_stride, const AdapterStep& adapters,
                                       Rows* rows, cudaStream_t stream) {
  if (shape.few_rows) return AttendRows(arrays, shape, table_stride, rows, stream);
  const int64_t last = config_.num_layers - 1;
  SIEVE_TRY_CUDA(
      QkvBlock(arrays, {act_.hidden, arrays.positions, shape.tokens}, table_stride, last, stream));
  SIEVE_TRY_CUDA(Attend(arrays, shape, table_stride, adapters, last, stream));
  if (shape.only_decodes) return cudaSuccess;  // all of them, in order
  const int64_t q_cols = config_.num_heads * config_.head_dim;
  const Rows kept = {act_.row_hidden, act_.q, shape.logit_rows};  // queries are not needed any more
  SIEVE_TRY_CUDA(cuda::GatherRows({.from = rows->residual,
                                   .rows = arrays.logit_rows,
                                   .out = kept.residual,
                                   .num_rows = kept.count,
                                   .row_bytes = config_.hidden_size * 4},
                                  stream));
  SIEVE_TRY_CUDA(cuda::GatherRows({.from = rows->attention,
                                   .rows = arrays.logit_rows,
                                   .out = act_.q,
                                   .num_rows = kept.count,
                                   .row_bytes = q_cols * InfoOf(dtype_).bytes},
                                  stream));
  *rows = kept;
  return cudaSuccess;
}

cudaError_t ForwardPass::AttendRows(const StepArrays& arrays, const StepShape& shape,
                                    int64_t table_stride, Rows* rows, cudaStream_t stream) {
  const int64_t last = config_.num_layers - 1;
  SIEVE_TRY_CUDA(QkvBlock(arrays,
                          {.residual = act_.hidden,
                           .positions = arrays.positions,
                           .count = shape.tokens,
                           .queries = false},
                          table_stride, last, stream));
  *rows = {act_.row_hidden, act_.attention, shape.logit_rows};
  if (rows->count == 0) return cudaSuccess;
  SIEVE_TRY_CUDA(cuda::GatherRows({.from = act_.hidden,
                                   .rows = arrays.logit_rows,
                                   .out = rows->residual,
                                   .num_rows = rows->count,
                                   .row_bytes = config_.hidden_size * 4},
                                  stream));
  SIEVE_TRY_CUDA(Angles(arrays.row_positions, rows->count, stream));
  SIEVE_TRY_CUDA(QkvBlock(arrays,
                          {.residual = rows->residual,
                           .positions = arrays.row_positions,
                           .count = rows->count,
                           .keys_and_values = false},
                          table_stride, last, stream));
  cuda::PagedAttentionParams p = AttentionOf(arrays, table_stride, last);
  p.tiles = arrays.row_tiles;
  p.num_tiles = rows->count;
  return cuda::DecodeAttention(p, shape.row_splits, act_.partials, stream);
}

cudaError_t ForwardPass::Norm(const float* weight, const float* residual, int64_t tokens,
                              cudaStream_t stream) {
  return cuda::RmsNorm({.x = residual,
                        .weight = weight,
                        .out = act_.normed,
                        .dtype = dtype_,
                        .num_tokens = tokens,
                        .hidden = config_.hidden_size,
                        .epsilon = static_cast<float>(config_.rms_norm_epsilon)},
                       stream);
}

cudaError_t ForwardPass::Product(const CudaMatrix& matrix, const void* x, int64_t tokens, float* y,
                                 cudaStream_t stream, bool accumulate) {
  cuda::MatMulParams p = ProductOf(matrix, x, tokens, y);
  p.accumulate = accumulate;
  return cuda::MatMul(p, stream);
}

cuda::MatMulParams ForwardPass::ProductOf(const CudaMatrix& matrix, const void* x, int64_t tokens,
                                          float* y) const {
  return {.weights = matrix.data,
          .x = x,
          .bias = matrix.bias,
          .y = y,
          .dtype = dtype_,
          .num_tokens = tokens,
          .outputs = matrix.outputs,
          .inputs = matrix.inputs};
}

cudaError_t ForwardPass::AddProduct(const CudaMatrix& matrix, const void* x, const Rows& rows,
                                    cudaStream_t stream) {
  return Product(matrix, x, rows.count, rows.residual, stream, /*accumulate=*/true);
}

cudaError_t ForwardPass::QkvBlock(const StepArrays& arrays, const Projection& projection,
                                  int64_t table_stride, int64_t layer, cudaStream_t stream) {
  const CudaLayerWeights& w = weights_->layers[layer];
  const int64_t heads = projection.queries ? config_.num_heads : 0;
  const int64_t kv_heads = projection.keys_and_values ? config_.num_kv_heads : 0;
  const int64_t first = projection.queries ? 0 : config_.num_heads * config_.head_dim;
  const CudaMatrix matrix =
      w.qkv.Part(first, (heads + 2 * kv_heads) * config_.head_dim, InfoOf(dtype_).bytes);
  SIEVE_TRY_CUDA(Norm(w.attention_norm, projection.residual, projection.count, stream));
  return cuda::ProjectHeads(ProductOf(matrix, act_.normed, projection.count, act_.qkv),
                            {.qkv = act_.qkv,
                             .cosines = act_.cosines,
                             .sines = act_.sines,
                             .block_tables = arrays.block_tables,
                             .block_table_stride = table_stride,
                             .sequences = arrays.sequences,
                             .positions = projection.positions,
                             .kv = Layer(layer),
                             .q = act_.q,
                             .num_tokens = projection.count,
                             .num_heads = heads,
                             .num_kv_heads = kv_heads,
                             .interleaved = config_.rope_interleaved},
                            stream);
}

cuda::PagedAttentionParams ForwardPass::AttentionOf(const StepArrays& arrays, int64_t table_stride,
                                                    int64_t layer) const {
  return {.kv = Layer(layer),
          .q = act_.q,
          .out = act_.attention,
          .block_tables = arrays.block_tables,
          .block_table_stride = table_stride,
          .num_heads = config_.num_heads,
          .num_kv_heads = config_.num_kv_heads,
          .scale = ScoreScale(config_)};
}

cudaError_t ForwardPass::Attend(const StepArrays& arrays, const StepShape& shape,
                                int64_t table_stride, const AdapterStep& adapters, int64_t layer,
                                cudaStream_t stream) {
  // Where all are dense, they share the launches.
  if (adapters.plan != nullptr) {
    for (const AdapterGroup& group : adapters.plan->groups()) {
      if (group.slot >= 0 && !adapters.slots[group.slot]->config().is_dense(layer)) {
        return AttendInGroups(arrays, shape, table_stride, adapters, layer, stream);
      }
    }
  }
  cuda::PagedAttentionParams p = AttentionOf(arrays, table_stride, layer);
  p.tiles = arrays.tiles;
  p.num_tiles = shape.prefill_tiles;
  SIEVE_TRY_CUDA(cuda::PrefillAttention(p, stream));
  p.tiles += shape.prefill_tiles;
  p.num_tiles = shape.decode_tiles;
  p.may_read_ahead = shape.only_decodes;
  return cuda::DecodeAttention(p, shape.max_splits, act_.partials, stream);
}

SparseLayer ForwardPass::SparseLayerOf(const cuda::PagedAttentionParams& attention,
                                       const StepShape& shape, int64_t layer) const {
  return {
      .attention = attention,
      .summaries = {cache_.summaries + layer * cache_.summary_layer_bytes,
                    cache_.summary_page_bytes, cache_.summary_page_bytes / config_.num_kv_heads},
      .hidden = act_.normed,
      .tokens = shape.tokens,
      .cosines = act_.cosines,
      .sines = act_.sines,
      .frequencies = act_.frequencies,
      .rope_interleaved = config_.rope_interleaved,
      .gammas = act_.gammas,
      .scratch = act_.scratch,
      .scratch_bytes = scratch_bytes_};
}

cudaError_t ForwardPass::AttendInGroups(const StepArrays& arrays, const StepShape& shape,
                                        int64_t table_stride, const AdapterStep& adapters,
                                        int64_t layer, cudaStream_t stream) {
  const cuda::PagedAttentionParams attention = AttentionOf(arrays, table_stride, layer);
  const cuda::AttentionTile* const tiles = adapters.plan->tiles(adapters.plan_at);
  for (const AdapterGroup& group : adapters.plan->groups()) {
    const CudaAdapter* const adapter = group.slot < 0 ? nullptr : adapters.slots[group.slot].get();
    const bool is_dense = adapter == nullptr || adapter->config().is_dense(layer);
    cuda::PagedAttentionParams p = attention;
    p.tiles = tiles + group.prefill.begin;
    p.num_tiles = is_dense ? group.prefill.count : group.near_prefill;
    SIEVE_TRY_CUDA(cuda::PrefillAttention(p, stream));
    p.tiles = tiles + group.decode.begin;
    p.num_tiles = is_dense ? group.decode.count : group.near_decode;
    SIEVE_TRY_CUDA(cuda::DecodeAttention(p, is_dense ? group.max_splits : group.near_splits,
                                         act_.partials, stream));
    if (is_dense) continue;
    SIEVE_TRY_CUDA(AttendSparsely(*adapter, layer, group, *adapters.plan, adapters.plan_at,
                                  SparseLayerOf(attention, shape, layer), stream));
  }
  return cudaSuccess;
}

cudaError_t ForwardPass::MlpBlock(const Rows& rows, int64_t layer, cudaStream_t stream) {
  const CudaLayerWeights& w = weights_->layers[layer];
  SIEVE_TRY_CUDA(Norm(w.mlp_norm, rows.residual, rows.count, stream));
  SIEVE_TRY_CUDA(cuda::GatedMatMul({.weights = w.gate_up.data,
                                    .x = act_.normed,
                                    .bias = w.gate_up.bias,
                                    .inner = act_.inner,
                                    .gate_up = act_.gate_up,
                                    .dtype = dtype_,
                                    .num_tokens = rows.count,
                                    .intermediate = config_.intermediate_size,
                                    .inputs = w.gate_up.inputs},
                                   stream));
  return AddProduct(w.down, act_.inner, rows, stream);
}

cudaError_t ForwardPass::Head(const Rows& rows, cudaStream_t stream) {
  SIEVE_TRY_CUDA(Norm(weights_->final_norm, rows.residual, rows.count, stream));
  return Product(weights_->head, act_.normed, rows.count, act_.logits, stream);
}

}  // namespace sieve
