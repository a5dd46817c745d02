#ifndef SIEVE_MODEL_CHECKPOINT_LLAMA_WEIGHTS_H_
#define SIEVE_MODEL_CHECKPOINT_LLAMA_WEIGHTS_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/tensor_view.h"
#include "model/config.h"
#include "model/weights.h"

namespace sieve {

using TensorMap = std::map<std::string, TensorView, std::less<>>;

// How a format names a Llama's tensors, without ".weight" and ".bias".
struct LlamaTensorNames {
  const char* embedding;
  const char* final_norm;
  const char* head;
  const char* layer_prefix;  // before the layer's number and a dot
  const char* attention_norm;
  const char* q;
  const char* k;
  const char* v;
  const char* o;
  const char* mlp_norm;
  const char* gate;
  const char* up;
  const char* down;
};

inline constexpr LlamaTensorNames kHfTensorNames = {
    .embedding = "model.embed_tokens",
    .final_norm = "model.norm",
    .head = "lm_head",
    .layer_prefix = "model.layers.",
    .attention_norm = "input_layernorm",
    .q = "self_attn.q_proj",
    .k = "self_attn.k_proj",
    .v = "self_attn.v_proj",
    .o = "self_attn.o_proj",
    .mlp_norm = "post_attention_layernorm",
    .gate = "mlp.gate_proj",
    .up = "mlp.up_proj",
    .down = "mlp.down_proj",
};

inline constexpr LlamaTensorNames kGgufTensorNames = {
    .embedding = "token_embd",
    .final_norm = "output_norm",
    .head = "output",
    .layer_prefix = "blk.",
    .attention_norm = "attn_norm",
    .q = "attn_q",
    .k = "attn_k",
    .v = "attn_v",
    .o = "attn_output",
    .mlp_norm = "ffn_norm",
    .gate = "ffn_gate",
    .up = "ffn_up",
    .down = "ffn_down",
};

// Finds every tensor that the shape asks for and checks its rows, columns and type: norms and
// biases are F32, F16 or BF16. Biases are taken where the file has them. Tied embeddings make the
// head the embedding. INVALID_ARGUMENT with tensor and reason; the caller adds the file.
absl::StatusOr<LlamaWeights> BindLlamaWeights(const ModelConfig& config,
                                              const LlamaTensorNames& names,
                                              const TensorMap& tensors);

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_LLAMA_WEIGHTS_H_
