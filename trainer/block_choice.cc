#include "trainer/block_choice.h"

#include <algorithm>

namespace sieve {
namespace {

constexpr int64_t kBlock = 64;
constexpr double kMasked = -1e30;  // finite, so that rows without any have gradients

// The sum over each tile, for each of its queries. x is [N, K, Q, n].
at::Tensor TileSums(const at::Tensor& x, int64_t tile) {
  if (tile == 1) return x;
  const int64_t queries = x.size(2), tiles = (queries + tile - 1) / tile;
  at::Tensor padded = x;
  if (tiles * tile > queries) {
    at::Tensor padding =
        at::zeros({x.size(0), x.size(1), tiles * tile - queries, x.size(3)}, x.options());
    padded = at::cat({x, padding}, 2);
  }
  return padded.unflatten(2, {tiles, tile}).sum(3).repeat_interleave(tile, 2).narrow(2, 0, queries);
}

}  // namespace

BlockSets SetsOfBlocks(const AdapterConfig& config, const at::Tensor& positions, int64_t n) {
  const at::Tensor own = positions.div(kBlock, "floor").unsqueeze(-1);  // [Q, 1]
  const at::Tensor block = at::arange(n + 1, positions.options());
  const at::Tensor old = block.lt(own - config.window_blocks);
  const at::Tensor rest = old.logical_and(block.ge(config.sink_blocks));
  return {.base = block.le(own).logical_and(rest.logical_not()),
          .candidates = rest.narrow(-1, 0, n)};
}

at::Tensor SelectBlocks(const AdapterConfig& config, const at::Tensor& logits,
                        const at::Tensor& candidates, int64_t count) {
  const at::Tensor scores = TileSums(MaskedSoftmax(logits, candidates).sum(2), config.query_tile)
                                .masked_fill(candidates.logical_not(), -1);
  const auto order =
      std::get<1>(at::sort(scores, /*stable=*/true, /*dim=*/-1, /*descending=*/true));
  const at::Tensor best = order.narrow(-1, 0, std::min(count, scores.size(-1)));
  at::Tensor selected = at::zeros(scores.sizes(), scores.options().dtype(at::kBool));
  return selected.scatter_(-1, best, true).logical_and(candidates);
}

at::Tensor MaskedSoftmax(const at::Tensor& logits, const at::Tensor& mask) {
  return at::softmax(logits.masked_fill(mask.logical_not(), kMasked), -1) * mask;
}

}  // namespace sieve
