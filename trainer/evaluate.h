#ifndef SIEVE_TRAINER_EVALUATE_H_
#define SIEVE_TRAINER_EVALUATE_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/adapter/adapter_config.h"
#include "trainer/layer_tensors.h"
#include "trainer/llama.h"

namespace sieve {

struct EvaluationOptions {
  int64_t window = 4096;    // tokens, at least 2; windows follow each other
  int64_t max_windows = 0;  // the first ones; 0: all whole windows
  int64_t windows_at_once = 1;
  std::vector<int64_t> selected_blocks;  // budgets to try
  int64_t query_chunk = 512;
  int64_t logit_rows = 1024;
  uint64_t seed = 1;  // of the intervals
};

// EvaluatePerplexity (trainer/eval) through LibTorch on the whole windows of a text, for an adapter
// whose tensors are at hand: {"window", "windows", "budgets": [...]}, a row for each budget, none
// for a text shorter than a window. INVALID_ARGUMENT for a window of less than two tokens, INTERNAL
// for logits that are not finite.
absl::StatusOr<nlohmann::ordered_json> Evaluate(const FrozenLlama& llama,
                                                const AdapterConfig& config,
                                                const std::vector<LayerTensors>& layers,
                                                absl::Span<const int32_t> tokens,
                                                const EvaluationOptions& options);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVALUATE_H_
