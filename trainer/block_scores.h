#ifndef SIEVE_TRAINER_BLOCK_SCORES_H_
#define SIEVE_TRAINER_BLOCK_SCORES_H_

#include <cstdint>
#include <vector>

#include "model/adapter/adapter_config.h"
#include "trainer/layer_tensors.h"
#include "trainer/llama.h"
#include "trainer/torch_ops.h"

namespace sieve {

// What the selectors of docs/adapters.md read of complete blocks; undefined where a selector does
// not read it. n of them, float32.
struct BlockSummaries {
  at::Tensor mean, max, min;  // of rotated keys, [N, num_kv_heads, n, head_dim]
  at::Tensor codes;           // the index, [N, num_kv_heads, n * 64, rank], as it is stored
  at::Tensor gate_keys;       // [N, num_kv_heads, n, head_dim], rotated
  at::Tensor index_q;         // [num_kv_heads, head_dim, rank]
  at::Tensor gate_q;          // [num_kv_heads, head_dim, group * head_dim]

  std::vector<at::Tensor*> Fields();
};

// Of the n * 64 first keys. Rounding of the index passes its gradient on unchanged.
BlockSummaries SummarizeBlocks(const FrozenLlama& llama, const AdapterConfig& config,
                               const LayerTensors& layer, const at::Tensor& k,
                               const at::Tensor& unrotated_k);

// The logits [N, num_kv_heads, group, Q, n] of queries for the first n blocks, by the selectors
// that read summaries (all but `compressed` and `oracle`). q is [N, num_kv_heads, group, Q,
// head_dim], unrotated_q too (read by `gate` alone); positions are those of the Q
// queries, `begin` and the following. Of blocks that are not before a query, logits may be
// anything.
at::Tensor BlockLogits(const FrozenLlama& llama, const AdapterConfig& config,
                       const BlockSummaries& blocks, int64_t n, const at::Tensor& q,
                       const at::Tensor& unrotated_q, const at::Tensor& positions, int64_t begin);

}  // namespace sieve

#endif  // SIEVE_TRAINER_BLOCK_SCORES_H_
