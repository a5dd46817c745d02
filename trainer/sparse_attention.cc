#include "trainer/sparse_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "trainer/block_choice.h"
#include "trainer/block_scores.h"
#include "trainer/compression.h"
#include "trainer/recomputed.h"

namespace sieve {
namespace {

constexpr int64_t kBlock = 64;
constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// All that a chunk of queries reads, float32, so that it can be given to Recomputed and be taken
// from it again.
struct LayerState {
  at::Tensor q, k, v, x, unrotated_q;  // q as [N, num_kv_heads, group, T, head_dim]
  BlockSummaries blocks;
  CompressedEntries entries;
  at::Tensor query_shift, bias;             // [H, d], [H]
  at::Tensor combine_weight, combine_bias;  // [parts, H, hidden], [parts, H]

  std::vector<at::Tensor*> Fields() {
    std::vector<at::Tensor*> fields = {&q,
                                       &k,
                                       &v,
                                       &x,
                                       &unrotated_q,
                                       &entries.k,
                                       &entries.v,
                                       &entries.bias,
                                       &query_shift,
                                       &bias,
                                       &combine_weight,
                                       &combine_bias};
    for (at::Tensor* field : blocks.Fields()) fields.push_back(field);
    return fields;
  }
};

// One chunk: queries of positions begin … begin + Q-1, and the n blocks before that of the last.
class Chunk {
 public:
  Chunk(const FrozenLlama& llama, const AdapterConfig& config, const LayerState& state,
        const at::Tensor& real, int64_t begin, int64_t queries)
      : llama_(llama),
        config_(config),
        s_(state),
        begin_(begin),
        queries_(queries),
        n_((begin + queries - 1) / kBlock),
        scale_(1 / std::sqrt(static_cast<double>(config.head_dim))) {
    positions_ = at::arange(begin, begin + queries, state.q.options().dtype(at::kLong));
    sets_ = SetsOfBlocks(config, positions_, n_);
    q_ = state.q.narrow(3, begin, queries);
    keys_ = begin + queries;
    causal_ = at::arange(keys_, positions_.options()).le(positions_.unsqueeze(-1));
    if (real.defined()) real_ = real.narrow(1, begin, queries);
  }

  // [N, K, G, Q, keys]: every causal key's logit.
  at::Tensor KeyLogits() const { return Dot(s_.k.narrow(2, 0, keys_)) * scale_; }

  at::Tensor Scores(const at::Tensor& key_logits) const {
    if (config_.selector == Selector::kOracle) return BlockMass(key_logits);
    if (config_.selector == Selector::kCompressed) {
      return at::logsumexp(EntryLogits().unflatten(-1, {n_, config_.entries_per_block()}), {-1});
    }
    const at::Tensor raw =
        s_.unrotated_q.defined() ? s_.unrotated_q.narrow(3, begin_, queries_) : at::Tensor();
    return BlockLogits(llama_, config_, s_.blocks, n_, q_, raw, positions_);
  }

  at::Tensor Select(const at::Tensor& scores, int64_t count) const {
    return SelectBlocks(config_, scores, sets_.candidates, real_, count);
  }

  // The sum over the queries with candidates, sequences and heads.
  at::Tensor SelectorLoss(const at::Tensor& key_logits, const at::Tensor& scores) const {
    const at::Tensor hidden = sets_.candidates.logical_not();
    const at::Tensor target = MaskedSoftmax(BlockMass(key_logits).detach(), sets_.candidates);
    const at::Tensor estimate = at::log_softmax(scores.masked_fill(hidden, -1e30), -1);
    at::Tensor kl = target * (target.clamp_min(1e-30).log() - estimate);
    if (real_.defined()) {
      kl = kl.masked_fill(real_.logical_not().unsqueeze(1).unsqueeze(1).unsqueeze(-1), 0);
    }
    return kl.masked_fill(hidden, 0).sum();
  }

  // [N, K, G, Q, d], without a selection where there are no blocks before.
  at::Tensor Attend(const at::Tensor& key_logits, const at::Tensor& selected) const {
    return config_.combiner == Combiner::kLiteral ? AttendLiteral(key_logits, selected)
                                                  : AttendLogSumExp(key_logits, selected);
  }

  at::Tensor KeysRead(const at::Tensor& selected) const {
    const at::Tensor read = TokensOf(sets_.base).sum();
    return n_ == 0 ? read * (s_.k.size(0) * s_.k.size(1))
                   : read * (s_.k.size(0) * s_.k.size(1)) + selected.sum() * kBlock;
  }

  // [3]: sums of the branches' shares over the queries with candidates, sequences and heads.
  at::Tensor BranchSums(const at::Tensor& selected) const {
    at::Tensor shares;
    const at::Tensor chosen = selected.unsqueeze(2);
    if (config_.combiner == Combiner::kLiteral) {
      shares = at::cat({Gate(2), Gate(1), Gate(0)}, -1).sigmoid();
      shares = shares / shares.sum(-1, /*keepdim=*/true);
    } else {
      const at::Tensor rest = sets_.candidates.logical_and(chosen.logical_not());
      const at::Tensor has_rest = rest.any(-1, /*keepdim=*/true);
      const auto part = [&](const at::Tensor& logits, const at::Tensor& mask, int64_t gate) {
        const at::Tensor masked = logits.masked_fill(mask.logical_not(), kMinusInfinity);
        const at::Tensor sum = at::logsumexp(masked, {-1}, /*keepdim=*/true);
        return gate == 0 || config_.branch_biases ? sum + Gate(gate) * has_rest : sum;
      };
      const at::Tensor logits = KeyLogits();
      at::Tensor tail = at::full_like(has_rest, kMinusInfinity, logits.options());
      if (config_.tail) {
        tail = part(EntryLogits(), rest.repeat_interleave(config_.entries_per_block(), -1), 0);
      }
      const at::Tensor base = part(logits, TokensOf(sets_.base), 2);
      shares = at::softmax(
          at::cat({base, part(logits, TokensOf(chosen), 1), tail.expand_as(base)}, -1), -1);
    }
    const at::Tensor open = sets_.candidates.any(-1).unsqueeze(-1);  // [Q, 1]
    return (shares * open).flatten(0, 3).sum(0);
  }

  // [N, K, Q / 64, n]: of the queries of each whole block the share that chose each block.
  at::Tensor ChosenByBlock(const at::Tensor& selected) const {
    return selected.narrow(2, 0, queries_ / kBlock * kBlock)
        .unflatten(2, {-1, kBlock})
        .to(at::kFloat)
        .mean(3);
  }

  int64_t blocks() const { return n_; }

 private:
  at::Tensor Dot(const at::Tensor& keys) const {
    return at::matmul(q_.flatten(2, 3), keys.transpose(-1, -2))
        .unflatten(2, {q_.size(2), queries_});
  }

  // [N, K, G, Q, n]: the log-sum-exp of each whole block's logits.
  at::Tensor BlockMass(const at::Tensor& key_logits) const {
    return at::logsumexp(key_logits.narrow(-1, 0, n_ * kBlock).unflatten(-1, {n_, kBlock}), {-1});
  }

  // A value by query head as [K, G, 1, …].
  at::Tensor ByGroup(const at::Tensor& x) const {
    return x.unflatten(0, {s_.k.size(1), q_.size(2)}).unsqueeze(2);
  }

  int64_t entries() const { return n_ * config_.entries_per_block(); }

  // Of the first n blocks' entries, [N, K, G, Q, E].
  at::Tensor EntryLogits() const {
    at::Tensor logits = Dot(s_.entries.k.narrow(2, 0, entries())) * scale_ +
                        s_.entries.bias.narrow(2, 0, entries()).unsqueeze(2).unsqueeze(2);
    if (s_.query_shift.defined()) {
      logits = logits + (q_ * ByGroup(s_.query_shift)).sum(-1, /*keepdim=*/true) * scale_;
    }
    if (s_.bias.defined()) logits = logits + ByGroup(s_.bias).unsqueeze(-1);
    return logits;
  }

  // γ of a part, [N, K, G, Q, 1].
  at::Tensor Gate(int64_t part) const {
    const at::Tensor x = s_.x.narrow(1, begin_, queries_);
    const at::Tensor gate =
        at::linear(x, s_.combine_weight.select(0, part)) + s_.combine_bias.select(0, part);
    return gate.transpose(1, 2).unflatten(1, {s_.k.size(1), q_.size(2)}).unsqueeze(-1);
  }

  // Of a set of blocks [..., Q, n or n + 1] the causal tokens [..., Q, keys].
  at::Tensor TokensOf(const at::Tensor& blocks) const {
    at::Tensor tokens = blocks.repeat_interleave(kBlock, -1);
    if (tokens.size(-1) < keys_) {
      std::vector<int64_t> missing = tokens.sizes().vec();
      missing.back() = keys_ - tokens.size(-1);
      tokens = at::cat({tokens, at::zeros(missing, tokens.options())}, -1);
    }
    return tokens.narrow(-1, 0, keys_).logical_and(causal_);
  }

  at::Tensor AttendLogSumExp(at::Tensor logits, const at::Tensor& selected) const {
    const at::Tensor base = TokensOf(sets_.base), values = s_.v.narrow(2, 0, keys_);
    if (n_ == 0) {
      logits = logits.masked_fill(base.logical_not(), kMinusInfinity);
      return Weighted(at::softmax(logits, -1), values);
    }
    const at::Tensor chosen = TokensOf(selected).unsqueeze(2);  // [N, K, 1, Q, keys]
    const at::Tensor rest = sets_.candidates.logical_and(selected.logical_not()).unsqueeze(2);
    if (config_.branch_biases) {
      const at::Tensor has_rest = rest.any(-1, /*keepdim=*/true);
      logits = logits + at::where(chosen, Gate(1), Gate(2)) * has_rest;
    }
    logits = logits.masked_fill(base.logical_or(chosen).logical_not(), kMinusInfinity);
    if (!config_.tail) return Weighted(at::softmax(logits, -1), values);
    const at::Tensor hidden = rest.repeat_interleave(config_.entries_per_block(), -1).logical_not();
    const at::Tensor tail = (EntryLogits() + Gate(0)).masked_fill(hidden, kMinusInfinity);
    return Weighted(at::softmax(at::cat({logits, tail}, -1), -1),
                    at::cat({values, s_.entries.v.narrow(2, 0, entries())}, 2));
  }

  at::Tensor AttendLiteral(const at::Tensor& logits, const at::Tensor& selected) const {
    const at::Tensor values = s_.v.narrow(2, 0, keys_);
    at::Tensor out =
        Weighted(MaskedSoftmax(logits, TokensOf(sets_.base)), values) * at::sigmoid(Gate(2));
    if (n_ == 0) return out;
    const at::Tensor chosen = TokensOf(selected).unsqueeze(2);
    out = out + Weighted(MaskedSoftmax(logits, chosen), values) * at::sigmoid(Gate(1));
    const at::Tensor own = positions_.div(kBlock, "floor").unsqueeze(-1);
    const at::Tensor past = at::arange(n_, positions_.options())
                                .lt(own)
                                .repeat_interleave(config_.entries_per_block(), -1);
    const at::Tensor coarse =
        Weighted(MaskedSoftmax(EntryLogits(), past), s_.entries.v.narrow(2, 0, entries()));
    return out + coarse * at::sigmoid(Gate(0));
  }

  at::Tensor Weighted(const at::Tensor& weights, const at::Tensor& values) const {
    return at::matmul(weights.flatten(2, 3), values).unflatten(2, {q_.size(2), queries_});
  }

  const FrozenLlama& llama_;
  const AdapterConfig& config_;
  const LayerState& s_;
  const int64_t begin_, queries_, n_;
  const double scale_;
  int64_t keys_;
  at::Tensor positions_, causal_, q_;
  at::Tensor real_;  // [N, Q], or undefined
  BlockSets sets_;
};

LayerState Prepare(const FrozenLlama& llama, const AdapterConfig& config, const LayerTensors& layer,
                   const AttentionInputs& inputs) {
  const int64_t kv_heads = config.num_kv_heads;
  const auto by_group = [&](const at::Tensor& q) {
    return q.to(at::kFloat).unflatten(1, {kv_heads, config.num_heads / kv_heads});
  };
  LayerState state;
  state.q = by_group(inputs.q);
  state.k = inputs.k.to(at::kFloat);
  state.v = inputs.v.to(at::kFloat);
  if (config.combined_parts() > 0) state.x = inputs.x.to(at::kFloat);
  const bool gate = config.selector == Selector::kGate;
  if (gate) state.unrotated_q = by_group(inputs.unrotated_q);
  const int64_t whole = state.k.size(2) / kBlock * kBlock;
  if (whole > 0) {
    const at::Tensor k = state.k.narrow(2, 0, whole);
    const at::Tensor raw =
        gate ? inputs.unrotated_k.to(at::kFloat).narrow(2, 0, whole) : at::Tensor();
    state.blocks = SummarizeBlocks(llama, config, layer, k, raw);
    if (config.has_compressed_branch()) {
      state.entries = CompressBlocks(config, layer, k, state.v.narrow(2, 0, whole));
    }
  }
  state.query_shift = TensorOf(layer, "compress.query_shift");
  state.bias = TensorOf(layer, "compress.bias");
  state.combine_weight = TensorOf(layer, "combine.weight");
  state.combine_bias = TensorOf(layer, "combine.bias");
  return state;
}

// The output of a chunk, the sum of the selector's loss and the keys read; with `probe`, where
// there are blocks before, the branches' sums and the choices by block.
Tensors AttendChunk(const Chunk& chunk, const SparseAttentionOptions& options) {
  const at::Tensor logits = chunk.KeyLogits();
  at::Tensor loss = at::zeros({}, logits.options()), selected;
  if (chunk.blocks() > 0) {
    c10::AutoGradMode gradients(c10::GradMode::is_enabled() && options.selector_loss);
    const at::Tensor scores = chunk.Scores(logits);
    selected = chunk.Select(scores.detach(), options.selected_blocks);
    if (options.selector_loss) loss = chunk.SelectorLoss(logits, scores);
  }
  Tensors out = {chunk.Attend(logits, selected), loss, chunk.KeysRead(selected)};
  if (options.probe && chunk.blocks() > 0) {
    out.push_back(chunk.BranchSums(selected));
    out.push_back(chunk.ChosenByBlock(selected));
  }
  return out;
}

}  // namespace

SparseAttentionResult SparseAttention(const FrozenLlama& llama, const AdapterConfig& config,
                                      const LayerTensors& layer, const AttentionInputs& inputs,
                                      const SparseAttentionOptions& options) {
  LayerState state = Prepare(llama, config, layer, inputs);
  Tensors packed;
  for (at::Tensor* field : state.Fields()) packed.push_back(*field);
  const int64_t tokens = state.k.size(2);
  std::vector<at::Tensor> outputs;
  at::Tensor loss = at::zeros({}, state.k.options()), keys_read = at::zeros({}, at::kLong);
  keys_read = keys_read.to(state.k.device());
  SparseAttentionResult result;
  if (options.probe) {
    const int64_t blocks = tokens / kBlock;
    result.branches = at::zeros({3}, loss.options());
    result.chosen = at::zeros({state.k.size(0), state.k.size(1), blocks, blocks}, loss.options());
  }
  for (int64_t begin = 0; begin < tokens; begin += options.query_chunk) {
    const int64_t queries = std::min(options.query_chunk, tokens - begin);
    const auto attend = [&llama, &config, options, begin, queries](const Tensors& fields) {
      LayerState part;
      const std::vector<at::Tensor*> places = part.Fields();
      for (size_t i = 0; i < places.size(); ++i) *places[i] = fields[i];
      return AttendChunk(Chunk(llama, config, part, options.real, begin, queries), options);
    };
    const Tensors chunk = c10::GradMode::is_enabled() ? Recomputed(attend, packed) : attend(packed);
    outputs.push_back(chunk[0]);
    loss = loss + chunk[1];
    keys_read = keys_read + chunk[2];
    if (chunk.size() > 3) {
      result.branches += chunk[3];
      result.chosen.narrow(2, begin / kBlock, chunk[4].size(2))
          .narrow(3, 0, chunk[4].size(3))
          .copy_(chunk[4]);
    }
  }
  const int64_t open = std::max<int64_t>(
      0, tokens - (config.sink_blocks + config.window_blocks + 1) * kBlock);  // with candidates
  const double rows = static_cast<double>(state.k.size(0) * config.num_heads);
  result.heads = at::cat(outputs, 3).flatten(1, 2).to(inputs.q.scalar_type());
  result.selector_loss = loss;
  if (open > 0) {
    const at::Tensor queries = options.real.defined()
                                   ? options.real.narrow(1, tokens - open, open).sum().clamp_min(1)
                                   : at::full({}, state.k.size(0) * open, loss.options());
    result.selector_loss = loss / (queries * config.num_heads);
  }
  result.keys_read = keys_read;
  if (options.probe && open > 0) result.branches /= rows * open;
  return result;
}

}  // namespace sieve
