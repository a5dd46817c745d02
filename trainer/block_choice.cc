#include "trainer/block_choice.h"

#include <algorithm>

namespace sieve {
namespace {

constexpr int64_t kBlock = 64;
constexpr double kMasked = -1e30;  // finite, so that rows without any have gradients

// The sum over each whole tile, for each of its queries; others keep their own. x is [N, K, Q, n],
// real [N, Q] or undefined.
at::Tensor TileSums(const at::Tensor& x, const at::Tensor& real, int64_t tile) {
  const int64_t queries = x.size(2), whole = queries / tile * tile;
  if (tile == 1 || whole == 0) return x;
  const at::Tensor tiles = x.narrow(2, 0, whole).unflatten(2, {-1, tile});
  at::Tensor sums = tiles.sum(3, /*keepdim=*/true).expand_as(tiles);
  if (real.defined()) {
    const at::Tensor last = real.narrow(1, 0, whole).unflatten(1, {-1, tile}).select(-1, tile - 1);
    sums = at::where(last.unsqueeze(1).unsqueeze(-1).unsqueeze(-1), sums, tiles);
  }
  return at::cat({sums.flatten(2, 3), x.narrow(2, whole, queries - whole)}, 2);
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
                        const at::Tensor& candidates, const at::Tensor& real, int64_t count) {
  const at::Tensor scores =
      TileSums(MaskedSoftmax(logits, candidates).sum(2), real, config.query_tile)
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
