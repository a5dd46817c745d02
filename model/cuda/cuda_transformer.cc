#include "model/cuda/cuda_transformer.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <new>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/block_summary.h"
#include "kernels/cuda/attention_params.h"
#include "kernels/cuda/pending_tokens.h"
#include "kernels/cuda/prefill_attention.h"
#include "model/adapter/adapter.h"
#include "model/batch_check.h"
#include "model/cuda/adapter_plan.h"
#include "model/cuda/cuda_adapter.h"
#include "model/cuda/cuda_status.h"
#include "model/cuda/forward_pass.h"
#include "model/cuda/memory.h"
#include "model/cuda/sparse_pass.h"
#include "model/cuda/step_draws.h"
#include "model/cuda/step_input.h"
#include "model/cuda/weights.h"
#include "model/host_step_runner.h"
#include "model/sampling/sampler.h"
#include "model/step_runner.h"

namespace sieve {
namespace {

constexpr int kDevice = 0;  // CUDA_VISIBLE_DEVICES chooses

// Of the memory that is free when all else is allocated; the rest is for graphs and for others.
constexpr double kCacheShare = 0.9;
// Of the free memory, the most that is left to adapters: on a small device the cache comes first.
constexpr double kMostForAdapters = 0.25;
constexpr double kMostPages = 1 << 30;  // ids are 32 bits wide

// A graph serves all batches that are not larger: few enough to be captured quickly, close enough
// to waste little.
int64_t Bucket(int64_t sequences) {
  if (sequences <= 2) return sequences;
  if (sequences <= 8) return (sequences + 3) / 4 * 4;
  if (sequences <= 64) return (sequences + 7) / 8 * 8;
  return (sequences + 31) / 32 * 32;
}

int64_t NextPowerOfTwo(int64_t n) {
  int64_t power = 1;
  while (power < n) power *= 2;
  return power;
}

bool OnlyDecodes(const Batch& batch) {
  if (batch.tokens.size() + 1 != batch.offsets.size() ||
      batch.logit_rows.size() != batch.tokens.size()) {
    return false;
  }
  for (size_t i = 0; i < batch.logit_rows.size(); ++i) {
    if (batch.logit_rows[i] != static_cast<int32_t>(i)) return false;
  }
  return true;
}

class CudaTransformer : public Transformer, private StepRunner {
 public:
  static absl::StatusOr<std::unique_ptr<Transformer>> Create(const ModelConfig& config,
                                                             const LlamaWeights& weights,
                                                             const CudaTransformerOptions& options);
  ~CudaTransformer() override;

  int64_t vocabulary_size() const override { return config_.vocabulary_size; }
  int64_t num_pages() const override { return cache_pages_; }
  const ModelConfig& config() const override { return config_; }
  const CacheGeometry& geometry() const override { return geometry_; }
  MemoryUse memory() const override {
    return {
        .device = "cuda:0",
        .weights = weights_.bytes(),
        .cache = cache_memory_.bytes(),
        .summaries = (cache_pages_ + 1) * geometry_.SummaryBytesPerPage(),
        .adapters = adapter_bytes_.load(std::memory_order_relaxed),
        .workspace = pass_->workspace_bytes() + input_->device_bytes() + draws_->device_bytes()};
  }
  absl::Status SetAdapter(int32_t slot, std::shared_ptr<const Adapter> adapter) override;
  void CopyPages(absl::Span<const PageCopy> copies) override;
  absl::Status Forward(const Batch& batch, absl::Span<float> logits) override;
  StepRunner* step_runner() override { return this; }

 private:
  // Of a step that was submitted.
  struct InFlight {
    bool on_host = false;           // drawn by the host; else by draws_
    std::vector<DrawnToken> drawn;  // by the host
  };

  CudaTransformer(const ModelConfig& config, const CudaTransformerOptions& options)
      : config_(config),
        options_(options),
        adapters_(kAdapterSlots),
        adapter_configs_(kAdapterSlots) {}
  absl::Status Init(const LlamaWeights& weights);
  absl::Status MakeCache();

  bool CanSubmit() const override { return in_flight_.size() < 2; }
  int in_flight() const override { return static_cast<int>(in_flight_.size()); }
  // The history of a step in flight is not known yet.
  bool DrawsAhead(const Draw& draw) const override { return draw.history == nullptr; }
  absl::Status Submit(const ModelStep& step) override;
  absl::StatusOr<std::vector<DrawnToken>> Collect() override;
  absl::Status Broken() const override { return broken_; }

  absl::StatusOr<InFlight> Start(const ModelStep& step);
  absl::StatusOr<std::vector<DrawnToken>> DrawOnTheHost(absl::Span<const Draw> draws);
  // Launches all up to the logits; `pending`: draws of the step before that it may read.
  absl::StatusOr<UploadedStep> Launch(const Batch& batch, int64_t pending,
                                      absl::Span<const char> extra);
  // Lays out the adapters of a batch; false: it has none.
  absl::StatusOr<bool> PlanAdapters(const Batch& batch);
  absl::Status Run(const UploadedStep& step, bool has_adapters);
  int64_t MaxPages() const { return (options_.max_context_tokens + kPageTokens - 1) / kPageTokens; }
  int64_t TileTokens() const {
    return cuda::PrefillTileTokens(options_.dtype, config_.head_dim,
                                   config_.num_heads / config_.num_kv_heads);
  }
  absl::StatusOr<cudaGraphExec_t> Capture(const UploadedStep& step);
  // Waits for all that was launched; valid until the next call.
  absl::StatusOr<absl::Span<const float>> CopyLogits(int64_t count);
  // Remembers an error after which the device does nothing any more.
  absl::Status Noted(absl::Status status);

  const ModelConfig config_;
  const CudaTransformerOptions options_;
  CacheGeometry geometry_;
  cudaStream_t stream_ = nullptr;
  CudaWeights weights_;
  CudaMemory cache_memory_, host_logits_;
  CudaCache cache_;
  int64_t cache_pages_ = 0;
  std::unique_ptr<StepInput> input_;
  std::unique_ptr<ForwardPass> pass_;
  std::unique_ptr<StepDraws> draws_;
  std::map<std::pair<int64_t, int64_t>, cudaGraphExec_t> graphs_;  // by tokens and splits
  std::vector<std::unique_ptr<CudaAdapter>> adapters_;             // [slots], null where empty
  std::vector<const AdapterConfig*> adapter_configs_;              // theirs
  std::atomic<int64_t> adapter_bytes_ = 0;
  AdapterPlan plan_;          // of the step that is launched
  absl::Status copy_status_;  // of CopyPages, which cannot tell; the next step does

  DrawInput draw_input_;
  std::vector<int32_t> draw_rows_;  // tokens whose logits are drawn from, by draw
  std::deque<InFlight> in_flight_;
  int64_t last_draws_ = 0;  // of the step submitted last
  Sampler sampler_;         // of draws that the device cannot make
  absl::Status broken_;
};

absl::Status CudaTransformer::Init(const LlamaWeights& weights) {
  SIEVE_RETURN_IF_CUDA(cudaSetDevice(kDevice), "using the CUDA device");
  SIEVE_RETURN_IF_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
                       "creating a stream");
  absl::StatusOr<CudaWeights> uploaded = CudaWeights::Upload(config_, weights, options_.dtype);
  if (!uploaded.ok()) return uploaded.status();
  weights_ = *std::move(uploaded);

  const StepLimits limits = {options_.max_step_tokens, options_.max_sequences, MaxPages()};
  int64_t plan_bytes = 0, scratch_bytes = 0;
  if (options_.summary_bytes > 0) {
    plan_bytes = AdapterPlan::MaxBytes(limits.max_tokens, limits.max_sequences);
    scratch_bytes = options_.scratch_bytes;
    if (scratch_bytes == 0) {
      scratch_bytes = SparseScratchFor(config_, limits.max_tokens, limits.max_pages);
    }
  }
  absl::StatusOr<StepInput> input =
      StepInput::Create(limits, TileTokens(),
                        {.plan = plan_bytes, .extra = DrawInput::MaxBytes(options_.max_sequences)});
  if (!input.ok()) return input.status();
  input_ = std::make_unique<StepInput>(*std::move(input));
  absl::StatusOr<ForwardPass> pass =
      ForwardPass::Create(config_, &weights_, options_.dtype, limits, scratch_bytes);
  if (!pass.ok()) return pass.status();
  pass_ = std::make_unique<ForwardPass>(*std::move(pass));
  absl::StatusOr<StepDraws> draws =
      StepDraws::Create(options_.max_sequences, config_.vocabulary_size);
  if (!draws.ok()) return draws.status();
  draws_ = std::make_unique<StepDraws>(*std::move(draws));
  return MakeCache();
}

// Last: it may take what is left.
absl::Status CudaTransformer::MakeCache() {
  geometry_ = {.num_layers = config_.num_layers,
               .num_kv_heads = config_.num_kv_heads,
               .head_dim = config_.head_dim,
               .dtype = options_.dtype,
               .summary_bytes = options_.summary_bytes};
  cache_pages_ = options_.cache_pages;
  if (cache_pages_ == 0) {
    size_t free = 0, total = 0;
    SIEVE_RETURN_IF_CUDA(cudaMemGetInfo(&free, &total), "asking for the free memory");
    const double adapters = std::min<double>(options_.adapter_bytes, kMostForAdapters * free);
    const double pages = kCacheShare * (free - adapters) / geometry_.BytesPerPage();
    cache_pages_ = static_cast<int64_t>(std::min<double>(pages, kMostPages)) - 1;
    if (cache_pages_ < 1) {
      return absl::ResourceExhaustedError(absl::StrCat(
          free, " bytes of device memory are left for the cache, which is too little"));
    }
  }
  // One page more: where the tokens that fill up a graph's batch live.
  const int64_t pages = cache_pages_ + 1;
  absl::StatusOr<CudaMemory> memory =
      CudaMemory::Device(pages * geometry_.BytesPerPage(), "the key/value cache");
  if (!memory.ok()) return memory.status();
  cache_memory_ = *std::move(memory);
  cache_.base = cache_memory_.data();
  cache_.summary_page_bytes = geometry_.SummaryBytesPerPage() / config_.num_layers;
  cache_.summary_layer_bytes = pages * cache_.summary_page_bytes;
  cache_.page_bytes = geometry_.BytesPerPage() / config_.num_layers - cache_.summary_page_bytes;
  cache_.layer_bytes = pages * cache_.page_bytes;
  cache_.summaries = cache_.base + config_.num_layers * cache_.layer_bytes;
  pass_->UseCache(cache_);
  SIEVE_RETURN_IF_CUDA(cudaMemset(cache_.base, 0, cache_memory_.bytes()), "clearing the cache");
  // Steps run on a stream that does not wait for what was begun beside it.
  SIEVE_RETURN_IF_CUDA(cudaDeviceSynchronize(), "clearing the cache");
  return absl::OkStatus();
}

CudaTransformer::~CudaTransformer() {
  if (stream_ != nullptr) cudaStreamSynchronize(stream_);
  for (const auto& [key, graph] : graphs_) cudaGraphExecDestroy(graph);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

void CudaTransformer::CopyPages(absl::Span<const PageCopy> copies) {
  const auto copy_part = [&](char* pages, int64_t page_bytes, const PageCopy& copy) {
    if (page_bytes == 0) return;
    copy_status_.Update(
        CudaStatus(cudaMemcpyAsync(pages + copy.to * page_bytes, pages + copy.from * page_bytes,
                                   page_bytes, cudaMemcpyDeviceToDevice, stream_),
                   "copying a page of the cache"));
  };
  // Layer by layer: the pages of one may be more bytes than a copy's pitch can be.
  for (const PageCopy& copy : copies) {
    for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
      copy_part(cache_.base + layer * cache_.layer_bytes, cache_.page_bytes, copy);
      copy_part(cache_.summaries + layer * cache_.summary_layer_bytes, cache_.summary_page_bytes,
                copy);
    }
  }
}

// Memory of the host that runs out is an error of this adapter, not of the requests that run.
absl::Status CudaTransformer::SetAdapter(int32_t slot, std::shared_ptr<const Adapter> adapter) try {
  if (slot < 0 || slot >= kAdapterSlots) {
    return absl::InvalidArgumentError(
        absl::StrCat("adapter slots are 0 to ", kAdapterSlots - 1, ", not ", slot));
  }
  std::unique_ptr<CudaAdapter> uploaded;
  if (adapter != nullptr) {
    SIEVE_RETURN_IF_CUDA(cudaSetDevice(kDevice), "using the CUDA device");
    absl::StatusOr<std::unique_ptr<CudaAdapter>> created =
        CudaAdapter::Upload(config_, geometry_, adapter);
    if (!created.ok()) return created.status();
    absl::Status status =
        CheckScratch(**created, options_.dtype, MaxPages(), pass_->scratch_bytes());
    if (!status.ok()) return status;
    uploaded = *std::move(created);
  }
  const auto bytes = [](const std::unique_ptr<CudaAdapter>& a) {
    return a != nullptr ? a->bytes() : 0;
  };
  adapter_bytes_ += bytes(uploaded) - bytes(adapters_[slot]);
  adapter_configs_[slot] = uploaded != nullptr ? &uploaded->config() : nullptr;
  adapters_[slot] = std::move(uploaded);
  return absl::OkStatus();
} catch (const std::bad_alloc&) {
  return absl::ResourceExhaustedError("there is no memory to copy an adapter to the device");
}

absl::StatusOr<bool> CudaTransformer::PlanAdapters(const Batch& batch) {
  bool has_adapters = false;
  for (int64_t s = 0; s + 1 < static_cast<int64_t>(batch.offsets.size()); ++s) {
    const int32_t slot = batch.adapter(s);
    if (slot < 0) continue;
    if (adapters_[slot] == nullptr) {
      return absl::InternalError(absl::StrCat("malformed batch: adapter slot ", slot, " is empty"));
    }
    absl::Status status = CheckTiles(batch, s, adapters_[slot]->config().query_tile);
    if (!status.ok()) return status;
    has_adapters = true;
  }
  if (has_adapters) {
    plan_.Build(batch, adapter_configs_,
                {.tile_tokens = TileTokens(), .scratch_bytes = pass_->scratch_bytes()});
  }
  return has_adapters;
}

absl::Status CudaTransformer::Forward(const Batch& batch, absl::Span<float> logits) {
  if (logits.size() != batch.logit_rows.size() * config_.vocabulary_size) {
    return absl::InternalError("malformed batch: the logits' size is not rows times vocabulary");
  }
  if (absl::Status status = Launch(batch, 0, {}).status(); !status.ok()) return Noted(status);
  const auto copied = CopyLogits(logits.size());
  if (!copied.ok()) return Noted(copied.status());
  std::copy(copied->begin(), copied->end(), logits.begin());
  return absl::OkStatus();
}

absl::Status CudaTransformer::Submit(const ModelStep& step) {
  CopyPages(step.copies);
  absl::StatusOr<InFlight> started = Start(step);
  if (!started.ok()) return Noted(started.status());
  in_flight_.push_back(*std::move(started));
  return absl::OkStatus();
}

absl::StatusOr<CudaTransformer::InFlight> CudaTransformer::Start(const ModelStep& step) {
  // Each draw has a row of logits of its own, for drawing may change it.
  draw_rows_.clear();
  for (const Draw& draw : step.draws) {
    draw_rows_.push_back(step.batch.logit_rows[draw.logit_row]);
  }
  Batch batch = step.batch;
  batch.logit_rows = draw_rows_;
  InFlight result;
  result.on_host = !draw_input_.Build(step.draws);
  const absl::StatusOr<UploadedStep> launched =
      Launch(batch, last_draws_, result.on_host ? absl::Span<const char>() : draw_input_.bytes());
  if (!launched.ok()) return launched.status();
  last_draws_ = static_cast<int64_t>(step.draws.size());
  if (!result.on_host) {
    const absl::Status drawn =
        draws_->Launch(draw_input_, launched->arrays.extra, pass_->logits(), stream_);
    if (!drawn.ok()) return drawn;
    return result;
  }
  absl::StatusOr<std::vector<DrawnToken>> drawn = DrawOnTheHost(step.draws);
  if (!drawn.ok()) return drawn.status();
  result.drawn = *std::move(drawn);
  return result;
}

// What the device's sampler cannot draw. Waits for the step.
absl::StatusOr<std::vector<DrawnToken>> CudaTransformer::DrawOnTheHost(
    absl::Span<const Draw> draws) {
  const int64_t vocabulary = config_.vocabulary_size;
  const auto logits = CopyLogits(static_cast<int64_t>(draws.size()) * vocabulary);
  if (!logits.ok()) return logits.status();
  std::vector<DrawnToken> drawn;
  for (const Draw& draw : draws) {
    const int64_t row = static_cast<int64_t>(drawn.size());
    drawn.push_back(DrawOnHost(draw, logits->subspan(row * vocabulary, vocabulary), &sampler_));
  }
  if (absl::Status status = draws_->Upload(drawn, stream_); !status.ok()) return status;
  return drawn;
}

absl::StatusOr<std::vector<DrawnToken>> CudaTransformer::Collect() {
  InFlight oldest = std::move(in_flight_.front());
  in_flight_.pop_front();
  if (oldest.on_host) return std::move(oldest.drawn);
  absl::StatusOr<std::vector<DrawnToken>> drawn = draws_->Collect();
  if (!drawn.ok()) return Noted(drawn.status());
  return drawn;
}

absl::StatusOr<UploadedStep> CudaTransformer::Launch(const Batch& batch, int64_t pending,
                                                     absl::Span<const char> extra) {
  absl::Status status = std::exchange(copy_status_, absl::OkStatus());
  status.Update(CheckBatch(batch, batch.logit_rows.size() * config_.vocabulary_size,
                           vocabulary_size(), num_pages(), pending, kAdapterSlots));
  if (!status.ok()) return status;
  if (batch.logit_rows.size() > options_.max_sequences) {
    return absl::InvalidArgumentError(absl::StrCat("a step with ", batch.logit_rows.size(),
                                                   " rows of logits; the model was made for ",
                                                   options_.max_sequences));
  }
  if (batch.tokens.empty()) return UploadedStep();
  // The engine's thread may not be the one that made the model.
  SIEVE_RETURN_IF_CUDA(cudaSetDevice(kDevice), "using the CUDA device");
  const absl::StatusOr<bool> has_adapters = PlanAdapters(batch);
  if (!has_adapters.ok()) return has_adapters.status();
  // Steps with adapters are not captured in graphs.
  const bool decodes = OnlyDecodes(batch) && !*has_adapters;
  const int64_t bucket = decodes ? std::min({Bucket(batch.tokens.size()), options_.max_sequences,
                                             options_.max_step_tokens})
                                 : 0;
  absl::StatusOr<UploadedStep> step =
      input_->Upload(batch, bucket, static_cast<int32_t>(cache_pages_),
                     *has_adapters ? plan_.bytes() : absl::Span<const char>(), extra, stream_);
  if (!step.ok()) return step.status();
  step->shape.only_decodes = decodes;
  // The last layer's attention is that of all tokens.
  if (*has_adapters) step->shape.few_rows = false;
  // Few graphs, but no more splits than the workspace has room for.
  if (decodes) {
    step->shape.max_splits = std::min(NextPowerOfTwo(step->shape.max_splits), pass_->max_splits());
  }
  if (std::any_of(batch.tokens.begin(), batch.tokens.end(), IsPending)) {
    SIEVE_RETURN_IF_CUDA(cuda::FillPendingTokens({.tokens = step->arrays.tokens,
                                                  .drawn = draws_->tokens(),
                                                  .num_tokens = step->shape.tokens},
                                                 stream_),
                         "taking the tokens of the step before");
  }
  status = Run(*step, *has_adapters);
  if (!status.ok()) return status;
  return step;
}

absl::Status CudaTransformer::Run(const UploadedStep& step, bool has_adapters) {
  if (!step.shape.only_decodes) {
    AdapterStep adapters;
    if (has_adapters) adapters = {&plan_, step.arrays.plan, adapters_};
    return CudaStatus(
        pass_->Launch(step.arrays, step.shape, StepInput::kTableStride, adapters, stream_),
        "launching a step");
  }
  const int64_t splits = pass_->DependsOnSplits(step.shape) ? step.shape.max_splits : 0;
  cudaGraphExec_t& graph = graphs_[{step.shape.tokens, splits}];
  if (graph == nullptr) {
    absl::StatusOr<cudaGraphExec_t> captured = Capture(step);
    if (!captured.ok()) return captured.status();
    graph = *captured;
  }
  return CudaStatus(cudaGraphLaunch(graph, stream_), "launching a step");
}

absl::StatusOr<cudaGraphExec_t> CudaTransformer::Capture(const UploadedStep& step) {
  SIEVE_RETURN_IF_CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal),
                       "capturing a step");
  const cudaError_t launched =
      pass_->Launch(step.arrays, step.shape, StepInput::kTableStride, stream_);
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream_, &graph);
  SIEVE_RETURN_IF_CUDA(launched != cudaSuccess ? launched : ended, "capturing a step");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t instantiated = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  SIEVE_RETURN_IF_CUDA(instantiated, "capturing a step");
  return executable;
}

absl::StatusOr<absl::Span<const float>> CudaTransformer::CopyLogits(int64_t count) {
  const int64_t bytes = count * static_cast<int64_t>(sizeof(float));
  if (host_logits_.bytes() < bytes) {
    absl::StatusOr<CudaMemory> memory = CudaMemory::PinnedHost(
        options_.max_sequences * config_.vocabulary_size * sizeof(float), "a step's logits");
    if (!memory.ok()) return memory.status();
    host_logits_ = *std::move(memory);
  }
  if (count > 0) {
    SIEVE_RETURN_IF_CUDA(cudaMemcpyAsync(host_logits_.data(), pass_->logits(), bytes,
                                         cudaMemcpyDeviceToHost, stream_),
                         "copying the logits");
  }
  SIEVE_RETURN_IF_CUDA(cudaStreamSynchronize(stream_), "computing a step");
  return absl::MakeConstSpan(reinterpret_cast<const float*>(host_logits_.data()), count);
}

absl::Status CudaTransformer::Noted(absl::Status status) {
  // After a fault every later call fails; other errors are forgotten once they were told.
  cudaGetLastError();
  if (broken_.ok()) broken_ = CudaStatus(cudaDeviceSynchronize(), "the device cannot go on");
  return status;
}

absl::StatusOr<std::unique_ptr<Transformer>> CudaTransformer::Create(
    const ModelConfig& config, const LlamaWeights& weights, const CudaTransformerOptions& options) {
  std::unique_ptr<CudaTransformer> model(new CudaTransformer(config, options));
  if (absl::Status status = model->Init(weights); !status.ok()) return status;
  return model;
}

}  // namespace

absl::Status CudaAvailable() {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error == cudaSuccess && devices > 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("no CUDA device can be used: ",
                   error == cudaSuccess ? "there is none" : cudaGetErrorString(error)));
}

absl::Status CudaSupports(const ModelConfig& config) {
  const int64_t group = config.num_heads / config.num_kv_heads;
  if (!cuda::AttentionSupports(config.head_dim, group)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "on CUDA, heads have 64, 80, 96, 128 or 256 dimensions and at most 16 query heads share "
        "keys and values; this model has ",
        config.head_dim, " and ", group));
  }
  if (config.hidden_size % 8 != 0 || config.intermediate_size % 8 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("on CUDA, hidden and intermediate size are multiples of 8, not ",
                     config.hidden_size, " and ", config.intermediate_size));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Transformer>> CreateCudaTransformer(
    const ModelConfig& config, const LlamaWeights& weights, const CudaTransformerOptions& options) {
  if (absl::Status status = CudaAvailable(); !status.ok()) return status;
  if (absl::Status status = CudaSupports(config); !status.ok()) return status;
  if (options.dtype != DType::kF32 && options.dtype != DType::kF16 &&
      options.dtype != DType::kBF16) {
    return absl::InvalidArgumentError(absl::StrCat(
        "on CUDA, a model computes in f32, f16 or bf16, not ", InfoOf(options.dtype).name));
  }
  if (options.summary_bytes < 0 || options.summary_bytes % kSummaryAlignment != 0) {
    return absl::InvalidArgumentError(absl::StrCat("summary_bytes must be a multiple of ",
                                                   kSummaryAlignment, ", not ",
                                                   options.summary_bytes));
  }
  return CudaTransformer::Create(config, weights, options);
}

}  // namespace sieve
