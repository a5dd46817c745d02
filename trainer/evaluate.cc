#include "trainer/evaluate.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "trainer/eval/perplexity.h"
#include "trainer/eval/torch_scorer.h"
#include "trainer/eval/variant.h"

namespace sieve {
namespace {

nlohmann::ordered_json Result(int64_t window, int64_t windows, nlohmann::ordered_json rows) {
  return {{"window", window}, {"windows", windows}, {"budgets", std::move(rows)}};
}

}  // namespace

absl::StatusOr<nlohmann::ordered_json> Evaluate(const FrozenLlama& llama,
                                                const AdapterConfig& config,
                                                const std::vector<LayerTensors>& layers,
                                                absl::Span<const int32_t> tokens,
                                                const EvaluationOptions& options) {
  const int64_t windows = static_cast<int64_t>(tokens.size()) / options.window;
  if (windows == 0) return Result(options.window, 0, nlohmann::ordered_json::array());
  const auto adapter = std::make_shared<const Adapter>(Adapter{config, {}, ""});
  std::vector<Variant> variants;
  std::vector<TorchVariant> tensors;
  for (const int64_t blocks : options.selected_blocks) {
    variants.push_back({config.base_model, adapter, blocks});
    tensors.push_back({variants.back().config(), layers});
  }
  TorchScorer scorer(&llama, std::move(tensors),
                     {.windows_at_once = options.windows_at_once,
                      .query_chunk = options.query_chunk,
                      .logit_rows = options.logit_rows});
  const TokenisedText text = {"", tokens.subspan(0, windows * options.window)};
  auto results = EvaluatePerplexity(&scorer, variants, {text},
                                    {.window = options.window,
                                     .stride = options.window,
                                     .max_windows = options.max_windows,
                                     .seed = options.seed});
  if (!results.ok()) return results.status();
  nlohmann::ordered_json& only = (*results)["texts"][0];
  return Result(options.window, only["windows"], std::move(only["rows"]));
}

}  // namespace sieve
