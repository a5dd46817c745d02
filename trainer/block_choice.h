#ifndef SIEVE_TRAINER_BLOCK_CHOICE_H_
#define SIEVE_TRAINER_BLOCK_CHOICE_H_

#include <cstdint>

#include "model/adapter/adapter_config.h"
#include "trainer/torch_ops.h"

namespace sieve {

// For Q queries at consecutive positions, the blocks up to that of the last: n of them and its own.
struct BlockSets {
  at::Tensor base;        // bool [Q, n + 1]: the base set, whole blocks
  at::Tensor candidates;  // bool [Q, n]
};

BlockSets SetsOfBlocks(const AdapterConfig& config, const at::Tensor& positions, int64_t n);

// bool [N, num_kv_heads, Q, n]: the `count` candidates with the largest score (the sum over the
// group of the softmax of `logits` [N, num_kv_heads, group, Q, n] over the candidates), the lower
// block first among equals. The first query must begin a tile; a tile that is not whole, which can
// only be the prompt's last, shares no choice. `real`, bool [N, Q], says which queries are no
// padding after a prompt; undefined: all.
at::Tensor SelectBlocks(const AdapterConfig& config, const at::Tensor& logits,
                        const at::Tensor& candidates, const at::Tensor& real, int64_t count);

// Softmax over the last axis where `mask` holds, elsewhere and in rows without any zero.
at::Tensor MaskedSoftmax(const at::Tensor& logits, const at::Tensor& mask);

}  // namespace sieve

#endif  // SIEVE_TRAINER_BLOCK_CHOICE_H_
