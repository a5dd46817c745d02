#ifndef SIEVE_MODEL_WEIGHTS_H_
#define SIEVE_MODEL_WEIGHTS_H_

#include <vector>

#include "kernels/tensor_view.h"

namespace sieve {

// Views of one layer's weights; matrices are [outputs, inputs]. Biases are absent or [1, outputs].
struct LayerWeights {
  TensorView attention_norm;  // [1, hidden]
  TensorView q;               // [num_heads * head_dim, hidden]
  TensorView k;               // [num_kv_heads * head_dim, hidden]
  TensorView v;               // [num_kv_heads * head_dim, hidden]
  TensorView o;               // [hidden, num_heads * head_dim]
  TensorView q_bias, k_bias, v_bias, o_bias;
  TensorView mlp_norm;  // [1, hidden]
  TensorView gate;      // [intermediate, hidden]
  TensorView up;        // [intermediate, hidden]
  TensorView down;      // [hidden, intermediate]
  TensorView gate_bias, up_bias, down_bias;
};

struct LlamaWeights {
  TensorView embedding;   // [vocabulary, hidden]
  TensorView final_norm;  // [1, hidden]
  TensorView head;        // [vocabulary, hidden]; the embedding itself when tied
  std::vector<LayerWeights> layers;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_WEIGHTS_H_
