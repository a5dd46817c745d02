#ifndef SIEVE_TRAINER_DISTILL_H_
#define SIEVE_TRAINER_DISTILL_H_

#include <cstdint>
#include <vector>

#include "model/adapter/adapter_config.h"
#include "trainer/layer_tensors.h"
#include "trainer/llama.h"
#include "trainer/torch_ops.h"

namespace sieve {

struct DistillOptions {
  int64_t selected_blocks = 0;
  int64_t query_chunk = 512;
  int64_t logit_rows = 1024;   // tokens whose logits are in memory at a time
  double selector_weight = 1;  // of the selector's loss, by layer; 0: not computed
  double weight = 1;           // of the whole, for accumulation over several calls
  bool probe = false;          // see SparseAttentionOptions
  double task_weight = 0;      // end to end: of the answers' loss; 0: not computed
  // Of the tokens, bool [N, T]: which are no padding (undefined: all), and which are answers
  // (undefined: none).
  at::Tensor real = {}, answers = {};
};

// Means over real tokens; the terms are those of the layers that are not dense.
struct DistillLosses {
  double total = 0;
  double output = 0;    // layer by layer: of the attention's output
  double selector = 0;  // of the block mass
  double kl = 0;        // end to end
  double task = 0;      // end to end: cross-entropy of the answers
};

// Layer by layer, each fed with the dense model's hidden states: |o - o'|² / |o|², o the output of
// dense attention and o' of sparse (after o_proj), plus the selector's loss; the mean over layers.
// Adds the gradients to the tensors of `layers` that require them. `tokens` is [N, T].
DistillLosses DistillLayers(const FrozenLlama& llama, const AdapterConfig& config,
                            const std::vector<LayerTensors>& layers, const at::Tensor& tokens,
                            const DistillOptions& options);

// End to end: KL(dense || sparse) of the next token's distribution, the mean over tokens, plus
// the mean of the layers' selector losses, on the sparse model's own hidden states, plus the
// sparse model's cross-entropy of the answers' tokens, their mean.
DistillLosses DistillEndToEnd(const FrozenLlama& llama, const AdapterConfig& config,
                              const std::vector<LayerTensors>& layers, const at::Tensor& tokens,
                              const DistillOptions& options);

// The last hidden states [N, T, hidden] of dense attention, or of sparse.
at::Tensor DenseHidden(const FrozenLlama& llama, const at::Tensor& tokens);

struct SparseHiddenResult {
  at::Tensor hidden;
  at::Tensor selector_loss;  // the sum over layers
  at::Tensor keys_read;      // the sum over layers, see SparseAttentionResult
  // With `probe`, by layer: SparseAttentionResult's; undefined in dense layers.
  std::vector<at::Tensor> branches = {}, chosen = {};
};

SparseHiddenResult SparseHidden(const FrozenLlama& llama, const AdapterConfig& config,
                                const std::vector<LayerTensors>& layers, const at::Tensor& tokens,
                                const DistillOptions& options);

}  // namespace sieve

#endif  // SIEVE_TRAINER_DISTILL_H_
