#ifndef SIEVE_TRAINER_LLAMA_H_
#define SIEVE_TRAINER_LLAMA_H_

#include <cstdint>
#include <vector>

#include "model/config.h"
#include "model/weights.h"
#include "trainer/torch_ops.h"

namespace sieve {

// What a layer's attention reads: N sequences of T tokens. Heads as the model stores their
// channels, also where pairs are interleaved.
struct AttentionInputs {
  at::Tensor x;     // [N, T, hidden], normalised
  at::Tensor q;     // [N, num_heads, T, head_dim], rotated
  at::Tensor k, v;  // [N, num_kv_heads, T, head_dim], k rotated
  at::Tensor unrotated_q, unrotated_k;
};

// A Llama whose weights get no gradient; activations may. All of it is of one type (float32 or
// bfloat16) on one device; norms, rotation and softmax are computed in float32.
class FrozenLlama {
 public:
  // Copies the weights, dequantised.
  FrozenLlama(const ModelConfig& config, const LlamaWeights& weights, at::TensorOptions options);

  const ModelConfig& config() const { return config_; }
  at::TensorOptions options() const { return options_; }

  // [N, T] int64 -> [N, T, hidden].
  at::Tensor Embed(const at::Tensor& tokens) const;
  // Of the hidden states [N, T, hidden] of tokens at positions 0 … T-1.
  AttentionInputs Project(int64_t layer, const at::Tensor& hidden) const;
  // o_proj of the heads' outputs [N, num_heads, T, head_dim].
  at::Tensor MergeHeads(int64_t layer, const at::Tensor& heads) const;
  // What the feed-forward part adds to `hidden`.
  at::Tensor FeedForward(int64_t layer, const at::Tensor& hidden) const;
  at::Tensor FinalNorm(const at::Tensor& hidden) const;
  // [vocabulary, hidden], of what the final norm gives.
  const at::Tensor& head() const { return head_; }
  // [..., hidden] -> float32 [..., vocabulary], the final norm included.
  at::Tensor Logits(const at::Tensor& hidden) const;

  // x [..., T, head_dim] rotated as at the T positions (int64), in float32.
  at::Tensor Rotate(const at::Tensor& x, const at::Tensor& positions) const;

 private:
  struct Layer {
    at::Tensor attention_norm, q, k, v, o, q_bias, k_bias, v_bias, o_bias;
    at::Tensor mlp_norm, gate, up, down, gate_bias, up_bias, down_bias;
  };

  at::Tensor Norm(const at::Tensor& x, const at::Tensor& weight) const;

  ModelConfig config_;
  at::TensorOptions options_;
  at::Tensor embedding_, final_norm_, head_;
  at::Tensor frequencies_;  // [head_dim / 2] float64
  std::vector<Layer> layers_;
};

// Causal attention, [N, num_heads, T, head_dim].
at::Tensor DenseAttention(const AttentionInputs& inputs);

}  // namespace sieve

#endif  // SIEVE_TRAINER_LLAMA_H_
