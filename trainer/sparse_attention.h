#ifndef SIEVE_TRAINER_SPARSE_ATTENTION_H_
#define SIEVE_TRAINER_SPARSE_ATTENTION_H_

#include <cstdint>

#include "model/adapter/adapter_config.h"
#include "trainer/layer_tensors.h"
#include "trainer/llama.h"
#include "trainer/torch_ops.h"

namespace sieve {

struct SparseAttentionOptions {
  int64_t selected_blocks = 0;
  // Queries whose logits are in memory at a time; a multiple of 64. With gradients enabled they are
  // computed again in the backward pass.
  int64_t query_chunk = 512;
  // Whether to compare the selector with the true mass of the blocks.
  bool selector_loss = false;
  // Whether to tell what the branches weigh and which blocks were chosen; without gradients only.
  bool probe = false;
  // bool [N, T]: which tokens are no padding, which follows what is shorter than T. Real tokens get
  // what they get without it. Undefined: all.
  at::Tensor real = {};
};

struct SparseAttentionResult {
  at::Tensor heads;  // [N, num_heads, T, head_dim], of the type of q
  // KL from each head's true block mass over the candidates to the softmax of the selector's
  // logits, the mean over sequences, heads and the real queries with candidates; zero without any.
  at::Tensor selector_loss;
  at::Tensor keys_read;  // int64 scalar: exact reads, summed over sequences, key/value heads and
                         // all queries
  // With `probe`. Float [3]: the shares of base set, selected blocks and compressed entries, the
  // mean over sequences, heads and the queries with candidates: of the softmax, or of the gates
  // where the combiner is literal. Zeros without such queries.
  at::Tensor branches = {};
  // With `probe`. Float [N, num_kv_heads, T / 64, T / 64]: of the queries of each whole block the
  // share that chose each block.
  at::Tensor chosen = {};
};

// Of the first `tokens` queries of a sequence, those that have blocks to choose from.
int64_t QueriesWithCandidates(const AdapterConfig& config, int64_t tokens);

// The attention of an adapter's layer as docs/adapters.md has it: differentiable, but for the
// choice of blocks. Prompts alone: with query_tile the tokens of a tile share their choice.
SparseAttentionResult SparseAttention(const FrozenLlama& llama, const AdapterConfig& config,
                                      const LayerTensors& layer, const AttentionInputs& inputs,
                                      const SparseAttentionOptions& options);

}  // namespace sieve

#endif  // SIEVE_TRAINER_SPARSE_ATTENTION_H_
