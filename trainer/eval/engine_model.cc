#include "trainer/eval/engine_model.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/adapter/adapter.h"
#include "model/attention/summary_layout.h"

namespace sieve {
namespace {

std::shared_ptr<const Adapter> WithBudget(const Variant& variant) {
  if (variant.selected_blocks == variant.adapter->config.selected_blocks) return variant.adapter;
  auto adapter = std::make_shared<Adapter>(*variant.adapter);
  adapter->config = variant.config();
  return adapter;
}

RunOptions OptionsFor(const ModelConfig& config, absl::Span<const Variant> variants,
                      const EngineModelOptions& options) {
  // Both types of 16 bits take the same.
  const DType dtype = options.dtype.value_or(DType::kF16);
  CacheGeometry geometry = {.num_layers = config.num_layers,
                            .num_kv_heads = config.num_kv_heads,
                            .head_dim = config.head_dim,
                            .dtype = dtype};
  for (const Variant& variant : variants) {
    geometry.summary_bytes =
        std::max(geometry.summary_bytes, SummaryLayoutOf(variant.config(), dtype).bytes);
  }
  return {.device = options.device,
          .num_threads = options.num_threads,
          .dtype = options.dtype,
          .cache_bytes = options.cache_pages * geometry.BytesPerPage(),
          .summary_bytes = geometry.summary_bytes,
          .max_step_tokens = options.max_step_tokens,
          .max_sequences = options.max_sequences,
          .max_context_tokens = options.max_context_tokens};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Transformer>> OpenEngineModel(const ModelConfig& config,
                                                             const LlamaWeights& weights,
                                                             absl::Span<const Variant> variants,
                                                             const EngineModelOptions& options) {
  if (variants.size() > kAdapterSlots) {
    return absl::InvalidArgumentError(
        absl::StrCat(variants.size(), " adapters and budgets; at most ", kAdapterSlots));
  }
  absl::StatusOr<std::unique_ptr<Transformer>> model =
      OpenTransformer(config, weights, OptionsFor(config, variants, options));
  if (!model.ok()) return model;
  for (size_t v = 0; v < variants.size(); ++v) {
    const absl::Status set = (*model)->SetAdapter(static_cast<int32_t>(v), WithBudget(variants[v]));
    if (set.ok()) continue;
    return absl::Status(set.code(),
                        absl::StrCat("adapter \"", variants[v].name, "\": ", set.message()));
  }
  return model;
}

}  // namespace sieve
