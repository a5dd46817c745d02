#ifndef SIEVE_TRAINER_MASKED_ATTENTION_H_
#define SIEVE_TRAINER_MASKED_ATTENTION_H_

#include "trainer/torch_ops.h"

namespace sieve {

// What queries read in one softmax: keys, and entries whose logits have terms of their own. All of
// one type, but for the biases (float32).
struct MaskedAttentionInputs {
  at::Tensor q = {};          // [N, num_kv_heads, group, Q, head_dim]
  at::Tensor k = {}, v = {};  // [N, num_kv_heads, keys, head_dim]
  // All undefined, or none.
  at::Tensor entry_k = {}, entry_v = {};  // [N, num_kv_heads, E, head_dim]
  at::Tensor entry_bias = {};             // [N, num_kv_heads, E], of an entry's logits
  at::Tensor query_bias = {};  // [N, num_kv_heads, group, Q], of a query's logits of all entries
  // What is added to logits: zero, or minus infinity where a query does not read. Each reads
  // something. [N or 1, num_kv_heads or 1, Q, keys], [..., Q, E]; of the type of q.
  at::Tensor key_mask = {}, entry_mask = {};
};

// [N, num_kv_heads, group, Q, head_dim], differentiable but for the masks. Where LibTorch has a
// fused kernel (CUDA), logits are never in memory.
at::Tensor MaskedAttention(const MaskedAttentionInputs& inputs);

}  // namespace sieve

#endif  // SIEVE_TRAINER_MASKED_ATTENTION_H_
