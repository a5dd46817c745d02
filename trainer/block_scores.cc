#include "trainer/block_scores.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "trainer/block_log_sum_exp.h"

namespace sieve {
namespace {

constexpr int64_t kBlock = 64;
constexpr double kIndexSteps = 15;

bool Reads(Selector selector, std::initializer_list<Selector> readers) {
  return std::find(readers.begin(), readers.end(), selector) != readers.end();
}

// To 16 levels between the least and the greatest of a block's channel. x is [..., n, 64, rank].
at::Tensor Quantized(const at::Tensor& x) {
  const at::Tensor fixed = x.detach();
  const at::Tensor low = std::get<0>(fixed.min(-2, /*keepdim=*/true));
  const at::Tensor step = (std::get<0>(fixed.max(-2, /*keepdim=*/true)) - low) / kIndexSteps;
  const at::Tensor code = at::where(step > 0, (fixed - low) / step, at::zeros({}, step.options()));
  return x + (low + step * code.round().clamp(0, kIndexSteps) - fixed);
}

at::Tensor IndexCodes(const AdapterConfig& config, const LayerTensors& layer,
                      const at::Tensor& blocks, const at::Tensor& mean) {
  const at::Tensor w = TensorOf(layer, "index.k").unsqueeze(1);  // [K, 1, d, rank]
  const at::Tensor codes = at::matmul(blocks - mean.unsqueeze(-2), w);
  return (config.index_bits == 4 ? Quantized(codes) : codes).flatten(2, 3);
}

at::Tensor GateKeys(const FrozenLlama& llama, const LayerTensors& layer, const at::Tensor& k) {
  const at::Tensor blocks = k.unflatten(2, {-1, kBlock});
  const at::Tensor features =
      at::cat({blocks.mean(-2), std::get<0>(blocks.max(-2)), std::get<0>(blocks.min(-2))},
              -1);  // [N, K, n, 3 d]
  const at::Tensor keys = at::matmul(features, TensorOf(layer, "gate.k").transpose(-1, -2));
  return llama.Rotate(keys, at::arange(blocks.size(2), k.options().dtype(at::kLong)) * kBlock);
}

// a [N, K, G, Q, d] with each of b [N, K, n, d]: [N, K, G, Q, n].
at::Tensor Dot(const at::Tensor& a, const at::Tensor& b) {
  return at::matmul(a.flatten(2, 3), b.transpose(-1, -2)).unflatten(2, {a.size(2), a.size(3)});
}

at::Tensor QuestBound(const at::Tensor& q, const at::Tensor& max, const at::Tensor& min) {
  return Dot(q.clamp_min(0), max) + Dot(q.clamp_max(0), min);
}

at::Tensor GateLogits(const FrozenLlama& llama, const BlockSummaries& blocks,
                      const at::Tensor& keys, const at::Tensor& unrotated_q,
                      const at::Tensor& positions) {
  const at::Tensor features = unrotated_q.transpose(2, 3).flatten(-2);  // [N, K, Q, G d]
  const at::Tensor query = at::matmul(features, blocks.gate_q.transpose(-1, -2));
  const at::Tensor logits = Dot(llama.Rotate(query, positions).unsqueeze(2), keys);
  return logits.expand({-1, -1, unrotated_q.size(2), -1, -1});
}

at::Tensor IndexLogits(const BlockSummaries& blocks, const at::Tensor& mean, int64_t n,
                       const at::Tensor& q, int64_t begin, double scale) {
  const at::Tensor low_rank =
      at::matmul(q.flatten(2, 3), blocks.index_q).unflatten(2, {q.size(2), q.size(3)});
  return Dot(q, mean) * scale +
         BlockLogSumExp(low_rank * scale, blocks.codes.narrow(2, 0, n * kBlock), begin);
}

}  // namespace

std::vector<at::Tensor*> BlockSummaries::Fields() {
  return {&mean, &max, &min, &codes, &gate_keys, &index_q, &gate_q};
}

BlockSummaries SummarizeBlocks(const FrozenLlama& llama, const AdapterConfig& config,
                               const LayerTensors& layer, const at::Tensor& k,
                               const at::Tensor& unrotated_k) {
  using S = Selector;
  const at::Tensor blocks = k.unflatten(2, {-1, kBlock});
  BlockSummaries out;
  if (Reads(config.selector, {S::kMean, S::kQuestMean, S::kIndex})) out.mean = blocks.mean(-2);
  if (Reads(config.selector, {S::kMax, S::kQuest, S::kQuestMean})) {
    out.max = std::get<0>(blocks.max(-2));
  }
  if (Reads(config.selector, {S::kQuest, S::kQuestMean})) out.min = std::get<0>(blocks.min(-2));
  if (config.selector == S::kIndex) {
    out.codes = IndexCodes(config, layer, blocks, out.mean);
    out.index_q = TensorOf(layer, "index.q");
  }
  if (config.selector == S::kGate) {
    out.gate_keys = GateKeys(llama, layer, unrotated_k);
    out.gate_q = TensorOf(layer, "gate.q");
  }
  return out;
}

at::Tensor BlockLogits(const FrozenLlama& llama, const AdapterConfig& config,
                       const BlockSummaries& blocks, int64_t n, const at::Tensor& q,
                       const at::Tensor& unrotated_q, const at::Tensor& positions, int64_t begin) {
  const double scale = 1 / std::sqrt(static_cast<double>(config.head_dim));
  const auto first = [n](const at::Tensor& x) { return x.narrow(2, 0, n); };
  switch (config.selector) {
    case Selector::kMean:
      return Dot(q, first(blocks.mean)) * scale;
    case Selector::kMax:
      return Dot(q, first(blocks.max)) * scale;
    case Selector::kQuest:
      return QuestBound(q, first(blocks.max), first(blocks.min)) * scale;
    case Selector::kQuestMean:
      return (QuestBound(q, first(blocks.max), first(blocks.min)) + Dot(q, first(blocks.mean))) *
             (scale / 2);
    case Selector::kIndex:
      return IndexLogits(blocks, first(blocks.mean), n, q, begin, scale);
    case Selector::kGate:
      return GateLogits(llama, blocks, first(blocks.gate_keys), unrotated_q, positions) * scale;
    case Selector::kCompressed:
    case Selector::kOracle:
      break;
  }
  return {};
}

}  // namespace sieve
