#include "model/transformer.h"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/aligned_buffer.h"
#include "kernels/block_summary.h"
#include "kernels/dequantize.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "kernels/paged_attention.h"
#include "kernels/thread_pool.h"
#include "model/adapter/adapter.h"
#include "model/attention/dense_attention.h"
#include "model/attention/nsa_attention.h"
#include "model/batch_check.h"
#include "model/cache/kv_cache.h"
#include "model/parallel_matmul.h"

namespace sieve {
namespace {

// Below this many tokens the work of one token is too short to share between threads.
constexpr int64_t kMinTokensToShare = 4;

// A vector of weights as floats; empty when absent.
std::vector<float> ToFloats(const TensorView& tensor) {
  std::vector<float> out(tensor ? tensor.cols : 0);
  if (tensor) DequantizeRow(tensor.dtype, tensor.data, tensor.cols, out.data());
  return out;
}

const float* DataOrNull(const std::vector<float>& v) { return v.empty() ? nullptr : v.data(); }

// A layer's vectors, expanded once.
struct LayerVectors {
  explicit LayerVectors(const LayerWeights& w)
      : attention_norm(ToFloats(w.attention_norm)),
        mlp_norm(ToFloats(w.mlp_norm)),
        q_bias(ToFloats(w.q_bias)),
        k_bias(ToFloats(w.k_bias)),
        v_bias(ToFloats(w.v_bias)),
        o_bias(ToFloats(w.o_bias)),
        gate_bias(ToFloats(w.gate_bias)),
        up_bias(ToFloats(w.up_bias)),
        down_bias(ToFloats(w.down_bias)) {}
  std::vector<float> attention_norm, mlp_norm;
  std::vector<float> q_bias, k_bias, v_bias, o_bias, gate_bias, up_bias, down_bias;
};

// A step's activations, slices of one buffer; T tokens.
struct Activations {
  float* hidden = nullptr;     // [T, hidden]
  float* normed = nullptr;     // [T, hidden]
  float* qkv = nullptr;        // [T, (num_heads + 2 num_kv_heads) head_dim]
  float* attention = nullptr;  // [T, num_heads * head_dim]
  float* gate = nullptr;       // [T, intermediate]
  float* up = nullptr;         // [T, intermediate]
  float* cosines = nullptr;    // [T, head_dim / 2]
  float* sines = nullptr;      // [T, head_dim / 2]
};

class CpuTransformer : public Transformer {
 public:
  CpuTransformer(const ModelConfig& config, const LlamaWeights& weights, int num_threads,
                 std::unique_ptr<KvCache> cache)
      : config_(config),
        weights_(weights),
        cache_(std::move(cache)),
        pool_(num_threads),
        attention_(config.num_heads, config.num_kv_heads, config.head_dim),
        frequencies_(RopeFrequencies(config)),
        final_norm_(ToFloats(weights.final_norm)),
        adapters_(kAdapterSlots) {
    vectors_.reserve(weights.layers.size());
    for (const LayerWeights& layer : weights.layers) vectors_.emplace_back(layer);
  }

  int64_t vocabulary_size() const override { return config_.vocabulary_size; }
  int64_t num_pages() const override { return cache_->num_pages(); }
  const ModelConfig& config() const override { return config_; }
  const CacheGeometry& geometry() const override { return cache_->geometry(); }
  MemoryUse memory() const override;
  void CopyPages(absl::Span<const PageCopy> copies) override;
  absl::Status Forward(const Batch& batch, absl::Span<float> logits) override;
  absl::Status SetAdapter(int32_t slot, std::shared_ptr<const Adapter> adapter) override;

 private:
  // The sequences of a step that have one adapter.
  struct AdapterGroup {
    const NsaAttention* attention = nullptr;  // null: the bare base model
    std::vector<int32_t> sequences;
  };

  int64_t QkvCols() const {
    return (config_.num_heads + 2 * config_.num_kv_heads) * config_.head_dim;
  }
  absl::Status GroupByAdapter(const Batch& batch);
  absl::Status ReserveBuffers(const Batch& batch);
  // body(i, worker) for i in [0, tokens), on the pool when there are enough.
  template <class Body>
  void ForTokens(int64_t tokens, Body body) {
    if (tokens < kMinTokensToShare) {
      for (int64_t t = 0; t < tokens; ++t) body(t);
    } else {
      pool_.ParallelFor(tokens, [&](int64_t t, int) { body(t); });
    }
  }
  void Embed(const Batch& batch);
  void ComputeAngles(const Batch& batch);
  void Norm(int64_t tokens, const std::vector<float>& weight);
  void AttentionBlock(const Batch& batch, int64_t layer);
  void RotateAndStore(const Batch& batch, int64_t layer);
  void Attend(const Batch& batch, int64_t layer);
  void MlpBlock(int64_t tokens, int64_t layer);
  void Head(const Batch& batch, absl::Span<float> logits);

  const ModelConfig config_;
  const LlamaWeights weights_;
  const std::unique_ptr<KvCache> cache_;
  ThreadPool pool_;
  const DenseAttention attention_;
  const std::vector<double> frequencies_;
  const std::vector<float> final_norm_;
  std::vector<LayerVectors> vectors_;
  std::vector<std::unique_ptr<NsaAttention>> adapters_;  // [slots], null where empty
  std::atomic<int64_t> adapter_bytes_ = 0;
  std::vector<int32_t> sequences_;    // all of the step's
  std::vector<AdapterGroup> groups_;  // of the step, the base model's first, by slot
  AlignedBuffer activation_buffer_;
  AlignedBuffer scratch_buffer_;
  std::atomic<int64_t> workspace_bytes_ = 0;  // of both; read while a step makes them grow
  Activations act_;
  WorkerScratch scratch_;
};

MemoryUse CpuTransformer::memory() const {
  MemoryUse use;
  const auto add = [&use](const TensorView& t) { use.weights += t ? t.bytes() : 0; };
  add(weights_.embedding);
  add(weights_.final_norm);
  if (!config_.tied_embeddings) add(weights_.head);
  for (const LayerWeights& w : weights_.layers) {
    for (const TensorView* t :
         {&w.attention_norm, &w.q, &w.k, &w.v, &w.o, &w.q_bias, &w.k_bias, &w.v_bias, &w.o_bias,
          &w.mlp_norm, &w.gate, &w.up, &w.down, &w.gate_bias, &w.up_bias, &w.down_bias}) {
      add(*t);
    }
  }
  use.cache = cache_->bytes();
  use.summaries = cache_->num_pages() * cache_->geometry().SummaryBytesPerPage();
  use.adapters = adapter_bytes_.load(std::memory_order_relaxed);
  use.workspace = workspace_bytes_.load(std::memory_order_relaxed);
  return use;
}

void CpuTransformer::CopyPages(absl::Span<const PageCopy> copies) {
  for (const PageCopy& copy : copies) cache_->CopyPage(copy.from, copy.to);
}

absl::Status CpuTransformer::SetAdapter(int32_t slot, std::shared_ptr<const Adapter> adapter) {
  if (slot < 0 || slot >= kAdapterSlots) {
    return absl::InvalidArgumentError(
        absl::StrCat("adapter slots are 0 to ", kAdapterSlots - 1, ", not ", slot));
  }
  std::unique_ptr<NsaAttention> attention;
  if (adapter != nullptr) {
    auto created = NsaAttention::Create(config_, cache_->geometry(), std::move(adapter));
    if (!created.ok()) return created.status();
    attention = *std::move(created);
  }
  const auto bytes = [](const std::unique_ptr<NsaAttention>& a) {
    return a != nullptr ? a->WeightBytes() : 0;
  };
  adapter_bytes_ += bytes(attention) - bytes(adapters_[slot]);
  adapters_[slot] = std::move(attention);
  return absl::OkStatus();
}

absl::Status CpuTransformer::GroupByAdapter(const Batch& batch) {
  const int64_t sequences = static_cast<int64_t>(batch.offsets.size()) - 1;
  sequences_.resize(sequences);
  std::iota(sequences_.begin(), sequences_.end(), 0);
  std::stable_sort(sequences_.begin(), sequences_.end(),
                   [&](int32_t a, int32_t b) { return batch.adapter(a) < batch.adapter(b); });
  groups_.clear();
  for (const int32_t s : sequences_) {
    const int32_t slot = batch.adapter(s);
    const NsaAttention* attention = slot >= 0 ? adapters_[slot].get() : nullptr;
    if (slot >= 0 && attention == nullptr) {
      return absl::InternalError(absl::StrCat("malformed batch: adapter slot ", slot, " is empty"));
    }
    if (attention != nullptr) {
      absl::Status status = CheckTiles(batch, s, attention->config().query_tile);
      if (!status.ok()) return status;
    }
    if (groups_.empty() || groups_.back().attention != attention)
      groups_.push_back({attention, {}});
    groups_.back().sequences.push_back(s);
  }
  return absl::OkStatus();
}

absl::Status CpuTransformer::ReserveBuffers(const Batch& batch) {
  const int64_t tokens = static_cast<int64_t>(batch.tokens.size());
  const int64_t widest = std::max(
      {config_.hidden_size, config_.intermediate_size, config_.num_heads * config_.head_dim});
  // A multiple of 16 floats keeps each worker's part on a cache line of its own.
  int64_t scratch = std::max(MatMulScratchFloats(widest), attention_.ScratchFloats(batch));
  for (const AdapterGroup& group : groups_) {
    if (group.attention != nullptr) {
      scratch = std::max(scratch, group.attention->ScratchFloats(batch));
    }
  }
  scratch_.stride = (scratch + 31) / 16 * 16;
  float** const slices[] = {&act_.hidden, &act_.normed, &act_.qkv,     &act_.attention,
                            &act_.gate,   &act_.up,     &act_.cosines, &act_.sines};
  const int64_t cols[] = {config_.hidden_size,
                          config_.hidden_size,
                          QkvCols(),
                          config_.num_heads * config_.head_dim,
                          config_.intermediate_size,
                          config_.intermediate_size,
                          config_.head_dim / 2,
                          config_.head_dim / 2};
  int64_t floats = 0;
  for (const int64_t c : cols) floats += (tokens * c + 15) / 16 * 16;
  const bool reserved = activation_buffer_.Reserve(floats) &&
                        scratch_buffer_.Reserve(scratch_.stride * pool_.num_threads());
  workspace_bytes_.store(activation_buffer_.bytes() + scratch_buffer_.bytes(),
                         std::memory_order_relaxed);
  if (!reserved) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for the activations of a step of ", tokens, " tokens"));
  }
  float* next = activation_buffer_.data();
  for (size_t i = 0; i < std::size(cols); ++i) {
    *slices[i] = next;
    next += (tokens * cols[i] + 15) / 16 * 16;
  }
  scratch_.base = scratch_buffer_.data();
  return absl::OkStatus();
}

absl::Status CpuTransformer::Forward(const Batch& batch, absl::Span<float> logits) {
  absl::Status status = CheckBatch(batch, logits.size(), vocabulary_size(), num_pages(),
                                   /*pending=*/0, kAdapterSlots);
  if (!status.ok()) return status;
  const int64_t tokens = static_cast<int64_t>(batch.tokens.size());
  if (tokens == 0) return absl::OkStatus();
  status = GroupByAdapter(batch);
  if (status.ok()) status = ReserveBuffers(batch);
  if (!status.ok()) return status;
  Embed(batch);
  ComputeAngles(batch);
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    AttentionBlock(batch, layer);
    MlpBlock(tokens, layer);
  }
  Head(batch, logits);
  return absl::OkStatus();
}

void CpuTransformer::Embed(const Batch& batch) {
  const TensorView& embedding = weights_.embedding;
  ForTokens(batch.tokens.size(), [&](int64_t t) {
    DequantizeRow(embedding.dtype, embedding.row(batch.tokens[t]), config_.hidden_size,
                  act_.hidden + t * config_.hidden_size);
  });
}

void CpuTransformer::ComputeAngles(const Batch& batch) {
  const int64_t half = config_.head_dim / 2;
  ForTokens(batch.tokens.size(), [&](int64_t t) {
    RopeAngles(frequencies_.data(), half, batch.positions[t], act_.cosines + t * half,
               act_.sines + t * half);
  });
}

void CpuTransformer::Norm(int64_t tokens, const std::vector<float>& weight) {
  const int64_t n = config_.hidden_size;
  ForTokens(tokens, [&](int64_t t) {
    RmsNorm(act_.hidden + t * n, weight.data(), config_.rms_norm_epsilon, n, act_.normed + t * n);
  });
}

void CpuTransformer::AttentionBlock(const Batch& batch, int64_t layer) {
  const LayerWeights& w = weights_.layers[layer];
  const LayerVectors& v = vectors_[layer];
  const int64_t tokens = static_cast<int64_t>(batch.tokens.size());
  const int64_t hidden = config_.hidden_size;
  const int64_t q_cols = config_.num_heads * config_.head_dim;
  const int64_t kv_cols = config_.num_kv_heads * config_.head_dim;
  Norm(tokens, v.attention_norm);
  MatMulParams q = {.weights = w.q,
                    .bias = DataOrNull(v.q_bias),
                    .x = act_.normed,
                    .x_stride = hidden,
                    .tokens = tokens,
                    .y = act_.qkv,
                    .y_stride = QkvCols()};
  MatMulParams k = q, value = q;
  k.weights = w.k, k.bias = DataOrNull(v.k_bias), k.y = act_.qkv + q_cols;
  value.weights = w.v, value.bias = DataOrNull(v.v_bias), value.y = k.y + kv_cols;
  ParallelMatMul({q, k, value}, scratch_, &pool_);
  RotateAndStore(batch, layer);
  Attend(batch, layer);
  ParallelMatMul({{.weights = w.o,
                   .bias = DataOrNull(v.o_bias),
                   .x = act_.attention,
                   .x_stride = q_cols,
                   .tokens = tokens,
                   .y = act_.hidden,
                   .y_stride = hidden,
                   .accumulate = true}},
                 scratch_, &pool_);
}

void CpuTransformer::Attend(const Batch& batch, int64_t layer) {
  AttentionArgs args = {.batch = &batch,
                        .sequences = sequences_,
                        .layer = layer,
                        .kv = cache_->Layer(layer),
                        .summaries = cache_->Summaries(layer),
                        .hidden = act_.normed,
                        .hidden_stride = config_.hidden_size,
                        .q = act_.qkv,
                        .q_stride = QkvCols(),
                        .cosines = act_.cosines,
                        .sines = act_.sines,
                        .out = act_.attention,
                        .out_stride = config_.num_heads * config_.head_dim};
  // Where all are dense, they share one parallel region.
  const auto dense = [&](const AdapterGroup& group) {
    return group.attention == nullptr || group.attention->config().is_dense(layer);
  };
  if (std::all_of(groups_.begin(), groups_.end(), dense)) {
    attention_.Forward(args, scratch_, &pool_);
    return;
  }
  for (const AdapterGroup& group : groups_) {
    args.sequences = group.sequences;
    if (dense(group)) {
      attention_.Forward(args, scratch_, &pool_);
    } else {
      group.attention->Append(args, scratch_, &pool_);
      group.attention->Forward(args, scratch_, &pool_);
    }
  }
}

void CpuTransformer::RotateAndStore(const Batch& batch, int64_t layer) {
  const PagedKvView view = cache_->Layer(layer);
  const int64_t d = config_.head_dim;
  const int64_t sequences = static_cast<int64_t>(batch.offsets.size()) - 1;
  const auto store = [&](int64_t sequence, int64_t t) {
    float* q = act_.qkv + t * QkvCols();
    const int64_t rotated_heads = config_.num_heads + config_.num_kv_heads;
    ApplyRope(q, rotated_heads, d, act_.cosines + t * (d / 2), act_.sines + t * (d / 2),
              config_.rope_interleaved);
    const float* k = q + config_.num_heads * d;
    const float* v = k + config_.num_kv_heads * d;
    const int64_t position = batch.positions[t];
    const int64_t page =
        batch.block_tables[sequence * batch.block_table_stride + position / kPageTokens];
    for (int64_t h = 0; h < config_.num_kv_heads; ++h) {
      WriteKv(view, page, h, position % kPageTokens, k + h * d, v + h * d);
    }
  };
  if (static_cast<int64_t>(batch.tokens.size()) < kMinTokensToShare) {
    for (int64_t s = 0; s < sequences; ++s) {
      for (int64_t t = batch.offsets[s]; t < batch.offsets[s + 1]; ++t) store(s, t);
    }
    return;
  }
  // Sixteen tokens a task: neighbouring slots of a page share cache lines of the transposed keys.
  constexpr int64_t kTokensPerTask = 16;
  const int64_t tokens = static_cast<int64_t>(batch.tokens.size());
  pool_.ParallelFor((tokens + kTokensPerTask - 1) / kTokensPerTask, [&](int64_t task, int) {
    const int64_t begin = task * kTokensPerTask;
    const int64_t end = std::min(tokens, begin + kTokensPerTask);
    int64_t s = std::upper_bound(batch.offsets.begin(), batch.offsets.end(), begin) -
                batch.offsets.begin() - 1;
    for (int64_t t = begin; t < end; ++t) {
      while (t >= batch.offsets[s + 1]) ++s;
      store(s, t);
    }
  });
}

void CpuTransformer::MlpBlock(int64_t tokens, int64_t layer) {
  const LayerWeights& w = weights_.layers[layer];
  const LayerVectors& v = vectors_[layer];
  const int64_t hidden = config_.hidden_size;
  const int64_t inner = config_.intermediate_size;
  Norm(tokens, v.mlp_norm);
  MatMulParams gate = {.weights = w.gate,
                       .bias = DataOrNull(v.gate_bias),
                       .x = act_.normed,
                       .x_stride = hidden,
                       .tokens = tokens,
                       .y = act_.gate,
                       .y_stride = inner};
  MatMulParams up = gate;
  up.weights = w.up, up.bias = DataOrNull(v.up_bias), up.y = act_.up;
  ParallelMatMul({gate, up}, scratch_, &pool_);
  ForTokens(tokens, [&](int64_t t) {
    float* g = act_.gate + t * inner;
    SwiGlu(g, act_.up + t * inner, inner, g);
  });
  ParallelMatMul({{.weights = w.down,
                   .bias = DataOrNull(v.down_bias),
                   .x = act_.gate,
                   .x_stride = inner,
                   .tokens = tokens,
                   .y = act_.hidden,
                   .y_stride = hidden,
                   .accumulate = true}},
                 scratch_, &pool_);
}

void CpuTransformer::Head(const Batch& batch, absl::Span<float> logits) {
  const int64_t rows = static_cast<int64_t>(batch.logit_rows.size());
  if (rows == 0) return;
  const int64_t hidden = config_.hidden_size;
  ForTokens(rows, [&](int64_t r) {
    RmsNorm(act_.hidden + batch.logit_rows[r] * hidden, final_norm_.data(),
            config_.rms_norm_epsilon, hidden, act_.normed + r * hidden);
  });
  ParallelMatMul({{.weights = weights_.head,
                   .x = act_.normed,
                   .x_stride = hidden,
                   .tokens = rows,
                   .y = logits.data(),
                   .y_stride = config_.vocabulary_size}},
                 scratch_, &pool_);
}

int CoresOrOne() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

}  // namespace

absl::StatusOr<std::unique_ptr<Transformer>> Transformer::Create(
    const ModelConfig& config, const LlamaWeights& weights, const TransformerOptions& options) {
  const DType type = options.cache_dtype;
  if (type != DType::kF32 && type != DType::kF16 && type != DType::kBF16) {
    return absl::InvalidArgumentError(
        absl::StrCat("the key/value cache can be f32, f16 or bf16, not ", InfoOf(type).name));
  }
  if (options.num_threads < 0 || options.num_threads > 1024) {
    return absl::InvalidArgumentError(
        absl::StrCat("threads must be 0 (one a core) to 1024, not ", options.num_threads));
  }
  if (options.summary_bytes < 0 || options.summary_bytes % kSummaryAlignment != 0) {
    return absl::InvalidArgumentError(absl::StrCat("summary_bytes must be a multiple of ",
                                                   kSummaryAlignment, ", not ",
                                                   options.summary_bytes));
  }
  const CacheGeometry geometry = {.num_layers = config.num_layers,
                                  .num_kv_heads = config.num_kv_heads,
                                  .head_dim = config.head_dim,
                                  .dtype = type,
                                  .summary_bytes = options.summary_bytes};
  absl::StatusOr<std::unique_ptr<KvCache>> cache = KvCache::Create(geometry, options.cache_pages);
  if (!cache.ok()) return cache.status();
  const int threads = options.num_threads > 0 ? options.num_threads : CoresOrOne();
  return std::make_unique<CpuTransformer>(config, weights, threads, *std::move(cache));
}

}  // namespace sieve
