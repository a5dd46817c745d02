#include "model/open_transformer.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "model/cache/geometry.h"
#include "model/cuda/cuda_transformer.h"

namespace sieve {
namespace {

constexpr int64_t kCpuCacheBytes = int64_t{1} << 30;

absl::StatusOr<int64_t> CachePages(const ModelConfig& config, DType dtype, int64_t bytes,
                                   int64_t summary_bytes) {
  const CacheGeometry geometry = {.num_layers = config.num_layers,
                                  .num_kv_heads = config.num_kv_heads,
                                  .head_dim = config.head_dim,
                                  .dtype = dtype,
                                  .summary_bytes = summary_bytes};
  // Page ids are 32 bits wide, and one more than these may be made.
  const int64_t pages =
      std::min<int64_t>(bytes / geometry.BytesPerPage(), std::numeric_limits<int32_t>::max() - 1);
  if (pages > 0) return pages;
  return absl::InvalidArgumentError(
      absl::StrCat("a cache of ", bytes, " bytes holds no page of this model, which is ",
                   geometry.BytesPerPage(), " bytes for ", kPageTokens, " tokens"));
}

absl::StatusOr<std::unique_ptr<Transformer>> OpenOnCpu(const ModelConfig& config,
                                                       const LlamaWeights& weights,
                                                       const RunOptions& options) {
  const DType dtype = options.dtype.value_or(DType::kF16);
  const absl::StatusOr<int64_t> pages =
      CachePages(config, dtype, options.cache_bytes > 0 ? options.cache_bytes : kCpuCacheBytes,
                 options.summary_bytes);
  if (!pages.ok()) return pages.status();
  return Transformer::Create(config, weights,
                             {.num_threads = options.num_threads,
                              .cache_pages = *pages,
                              .cache_dtype = dtype,
                              .summary_bytes = options.summary_bytes});
}

absl::StatusOr<std::unique_ptr<Transformer>> OpenOnCuda(const ModelConfig& config,
                                                        const LlamaWeights& weights,
                                                        const RunOptions& options) {
  CudaTransformerOptions cuda = {.dtype = options.dtype.value_or(DType::kBF16),
                                 .max_step_tokens = options.max_step_tokens,
                                 .max_sequences = options.max_sequences,
                                 .max_context_tokens = options.max_context_tokens,
                                 .summary_bytes = options.summary_bytes};
  cuda.adapter_bytes = options.adapter_parameters * InfoOf(cuda.dtype).bytes;
  if (options.cache_bytes > 0) {
    const absl::StatusOr<int64_t> pages =
        CachePages(config, cuda.dtype, options.cache_bytes, options.summary_bytes);
    if (!pages.ok()) return pages.status();
    cuda.cache_pages = *pages;
  }
  return CreateCudaTransformer(config, weights, cuda);
}

}  // namespace

absl::StatusOr<Device> ParseDevice(absl::string_view name) {
  if (name == "auto") return Device::kAuto;
  if (name == "cpu") return Device::kCpu;
  if (name == "cuda") return Device::kCuda;
  return absl::InvalidArgumentError(
      absl::StrCat("device \"", name, "\"; expected auto, cpu or cuda"));
}

absl::StatusOr<std::optional<DType>> ParseCacheType(absl::string_view name) {
  if (name.empty()) return std::nullopt;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    if (name == InfoOf(dtype).name) return dtype;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("cache type \"", name, "\"; expected f32, f16 or bf16"));
}

absl::StatusOr<std::unique_ptr<Transformer>> OpenTransformer(const ModelConfig& config,
                                                             const LlamaWeights& weights,
                                                             const RunOptions& options) {
  const bool on_cuda =
      options.device == Device::kCuda ||
      (options.device == Device::kAuto && CudaAvailable().ok() && CudaSupports(config).ok());
  return on_cuda ? OpenOnCuda(config, weights, options) : OpenOnCpu(config, weights, options);
}

}  // namespace sieve
