#ifndef SIEVE_TRAINER_COMPRESSION_H_
#define SIEVE_TRAINER_COMPRESSION_H_

#include "model/adapter/adapter_config.h"
#include "trainer/layer_tensors.h"
#include "trainer/torch_ops.h"

namespace sieve {

// The compressed entries of complete blocks, E of them, float32.
struct CompressedEntries {
  at::Tensor k, v;  // [N, num_kv_heads, E, head_dim]
  at::Tensor bias;  // [N, num_kv_heads, E], what an entry's logits have beside the query's part
};

// docs/adapters.md, "Compressed entries". k (rotated) and v are [N, num_kv_heads, tokens, head_dim]
// of whole blocks, float32.
CompressedEntries CompressBlocks(const AdapterConfig& config, const LayerTensors& layer,
                                 const at::Tensor& k, const at::Tensor& v);

}  // namespace sieve

#endif  // SIEVE_TRAINER_COMPRESSION_H_
