#ifndef SIEVE_TRAINER_EVAL_TORCH_SCORER_H_
#define SIEVE_TRAINER_EVAL_TORCH_SCORER_H_

#include <cstdint>
#include <vector>

#include "model/adapter/adapter_config.h"
#include "trainer/eval/variant.h"
#include "trainer/eval/window_scorer.h"
#include "trainer/layer_tensors.h"
#include "trainer/llama.h"

namespace sieve {

struct TorchVariant {
  AdapterConfig config;  // selected_blocks is the budget
  std::vector<LayerTensors> layers;
};

struct TorchScorerOptions {
  int64_t windows_at_once = 1;
  int64_t query_chunk = 512;
  int64_t logit_rows = 1024;  // tokens whose logits are in memory at a time
};

// The tensors of variants on a device; those of one adapter are shared.
std::vector<TorchVariant> TorchVariants(absl::Span<const Variant> variants, at::Device device);

// Scores windows through LibTorch's forward pass.
class TorchScorer : public WindowScorer {
 public:
  // `llama` is borrowed.
  TorchScorer(const FrozenLlama* llama, std::vector<TorchVariant> variants,
              const TorchScorerOptions& options);

  int64_t windows_at_once() const override { return options_.windows_at_once; }
  absl::StatusOr<std::vector<std::vector<WindowScores>>> Score(
      absl::Span<const int32_t> text, absl::Span<const ScoredWindow> windows) override;

 private:
  absl::Status ScoreBatch(absl::Span<const int32_t> text, absl::Span<const ScoredWindow> windows,
                          std::vector<std::vector<WindowScores>>* out) const;

  const FrozenLlama* const llama_;
  const std::vector<TorchVariant> variants_;
  const TorchScorerOptions options_;
};

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_TORCH_SCORER_H_
