#include "model/cuda/cuda_transformer.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/attention_params.h"
#include "kernels/cuda/prefill_attention.h"
#include "model/batch_check.h"
#include "model/cuda/cuda_status.h"
#include "model/cuda/forward_pass.h"
#include "model/cuda/memory.h"
#include "model/cuda/step_input.h"
#include "model/cuda/weights.h"

namespace sieve {
namespace {

constexpr int kDevice = 0;  // CUDA_VISIBLE_DEVICES chooses

// Of the memory that is free when all else is allocated; the rest is for graphs and for others.
constexpr double kCacheShare = 0.9;
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

class CudaTransformer : public Transformer {
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
    return {.device = "cuda:0",
            .weights = weights_.bytes(),
            .cache = cache_memory_.bytes(),
            .workspace = pass_->workspace_bytes() + input_->device_bytes()};
  }
  void CopyPages(absl::Span<const PageCopy> copies) override;
  absl::Status Forward(const Batch& batch, absl::Span<float> logits) override;

 private:
  CudaTransformer(const ModelConfig& config, const CudaTransformerOptions& options)
      : config_(config), options_(options) {}
  absl::Status Init(const LlamaWeights& weights);
  absl::Status MakeCache();
  // Launches or replays the step that input_ holds.
  absl::Status Run(const StepShape& shape, bool as_graph);
  absl::StatusOr<cudaGraphExec_t> Capture(const StepShape& shape);

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
  std::map<std::pair<int64_t, int64_t>, cudaGraphExec_t> graphs_;  // by tokens and splits
  absl::Status copy_status_;  // of CopyPages, which cannot tell; the next Forward does
};

absl::Status CudaTransformer::Init(const LlamaWeights& weights) {
  SIEVE_RETURN_IF_CUDA(cudaSetDevice(kDevice), "using the CUDA device");
  SIEVE_RETURN_IF_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
                       "creating a stream");
  absl::StatusOr<CudaWeights> uploaded = CudaWeights::Upload(config_, weights, options_.dtype);
  if (!uploaded.ok()) return uploaded.status();
  weights_ = *std::move(uploaded);

  const StepLimits limits = {options_.max_step_tokens, options_.max_sequences,
                             (options_.max_context_tokens + kPageTokens - 1) / kPageTokens};
  absl::StatusOr<StepInput> input =
      StepInput::Create(limits, cuda::PrefillTileTokens(options_.dtype, config_.head_dim,
                                                        config_.num_heads / config_.num_kv_heads));
  if (!input.ok()) return input.status();
  input_ = std::make_unique<StepInput>(*std::move(input));
  absl::StatusOr<ForwardPass> pass =
      ForwardPass::Create(config_, &weights_, options_.dtype, limits);
  if (!pass.ok()) return pass.status();
  pass_ = std::make_unique<ForwardPass>(*std::move(pass));
  absl::StatusOr<CudaMemory> logits = CudaMemory::PinnedHost(
      options_.max_sequences * config_.vocabulary_size * sizeof(float), "a step's logits");
  if (!logits.ok()) return logits.status();
  host_logits_ = *std::move(logits);
  return MakeCache();
}

// Last: it may take what is left.
absl::Status CudaTransformer::MakeCache() {
  geometry_ = {.num_layers = config_.num_layers,
               .num_kv_heads = config_.num_kv_heads,
               .head_dim = config_.head_dim,
               .dtype = options_.dtype};
  cache_pages_ = options_.cache_pages;
  if (cache_pages_ == 0) {
    size_t free = 0, total = 0;
    SIEVE_RETURN_IF_CUDA(cudaMemGetInfo(&free, &total), "asking for the free memory");
    const double pages = kCacheShare * static_cast<double>(free) / geometry_.BytesPerPage();
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
  cache_.page_bytes = geometry_.BytesPerPage() / config_.num_layers;
  cache_.layer_bytes = pages * cache_.page_bytes;
  pass_->UseCache(cache_);
  SIEVE_RETURN_IF_CUDA(cudaMemset(cache_.base, 0, cache_memory_.bytes()), "clearing the cache");
  return absl::OkStatus();
}

CudaTransformer::~CudaTransformer() {
  if (stream_ != nullptr) cudaStreamSynchronize(stream_);
  for (const auto& [key, graph] : graphs_) cudaGraphExecDestroy(graph);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

void CudaTransformer::CopyPages(absl::Span<const PageCopy> copies) {
  for (const PageCopy& copy : copies) {
    copy_status_.Update(CudaStatus(
        cudaMemcpy2DAsync(cache_.base + copy.to * cache_.page_bytes, cache_.layer_bytes,
                          cache_.base + copy.from * cache_.page_bytes, cache_.layer_bytes,
                          cache_.page_bytes, config_.num_layers, cudaMemcpyDeviceToDevice, stream_),
        "copying a page of the cache"));
  }
}

absl::Status CudaTransformer::Forward(const Batch& batch, absl::Span<float> logits) {
  absl::Status status = std::exchange(copy_status_, absl::OkStatus());
  status.Update(CheckBatch(batch, logits.size(), vocabulary_size(), num_pages()));
  if (!status.ok()) return status;
  if (batch.tokens.empty()) return absl::OkStatus();
  // The engine's thread may not be the one that made the model.
  SIEVE_RETURN_IF_CUDA(cudaSetDevice(kDevice), "using the CUDA device");
  const int64_t sequences = static_cast<int64_t>(batch.offsets.size()) - 1;
  const bool decodes = OnlyDecodes(batch);
  const int64_t bucket =
      decodes ? std::min({Bucket(sequences), options_.max_sequences, options_.max_step_tokens}) : 0;
  absl::StatusOr<StepShape> shape =
      input_->Upload(batch, bucket, static_cast<int32_t>(cache_pages_), stream_);
  if (!shape.ok()) return shape.status();
  if (shape->logit_rows > options_.max_sequences) {
    return absl::InvalidArgumentError(absl::StrCat("a step with ", shape->logit_rows,
                                                   " rows of logits; the model was made for ",
                                                   options_.max_sequences));
  }
  shape->only_decodes = decodes;
  if (decodes) shape->max_splits = NextPowerOfTwo(shape->max_splits);
  status = Run(*shape, decodes);
  if (!status.ok()) return status;
  if (!logits.empty()) {
    SIEVE_RETURN_IF_CUDA(cudaMemcpyAsync(host_logits_.data(), pass_->logits(), logits.size() * 4,
                                         cudaMemcpyDeviceToHost, stream_),
                         "copying the logits");
  }
  SIEVE_RETURN_IF_CUDA(cudaStreamSynchronize(stream_), "computing a step");
  std::copy_n(reinterpret_cast<const float*>(host_logits_.data()), logits.size(), logits.begin());
  return absl::OkStatus();
}

absl::Status CudaTransformer::Run(const StepShape& shape, bool as_graph) {
  if (!as_graph) {
    return CudaStatus(pass_->Launch(input_->device(), shape, input_->table_stride(), stream_),
                      "launching a step");
  }
  cudaGraphExec_t& graph = graphs_[{shape.tokens, shape.max_splits}];
  if (graph == nullptr) {
    absl::StatusOr<cudaGraphExec_t> captured = Capture(shape);
    if (!captured.ok()) return captured.status();
    graph = *captured;
  }
  return CudaStatus(cudaGraphLaunch(graph, stream_), "launching a step");
}

absl::StatusOr<cudaGraphExec_t> CudaTransformer::Capture(const StepShape& shape) {
  SIEVE_RETURN_IF_CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal),
                       "capturing a step");
  const cudaError_t launched =
      pass_->Launch(input_->device(), shape, input_->table_stride(), stream_);
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream_, &graph);
  SIEVE_RETURN_IF_CUDA(launched != cudaSuccess ? launched : ended, "capturing a step");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t instantiated = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  SIEVE_RETURN_IF_CUDA(instantiated, "capturing a step");
  return executable;
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
  return CudaTransformer::Create(config, weights, options);
}

}  // namespace sieve
