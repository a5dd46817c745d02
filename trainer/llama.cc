#include "trainer/llama.h"

#include <cstddef>

#include "kernels/dequantize.h"

namespace sieve {
namespace {

at::Tensor Load(const TensorView& view, at::TensorOptions options) {
  if (!view) return {};
  at::Tensor host = at::empty({view.rows, view.cols}, at::kFloat);
  for (int64_t row = 0; row < view.rows; ++row) {
    DequantizeRow(view.dtype, view.row(row), view.cols, host.data_ptr<float>() + row * view.cols);
  }
  return host.to(options);
}

at::Tensor LoadVector(const TensorView& view, at::TensorOptions options) {
  return view ? Load(view, options).squeeze(0) : at::Tensor();
}

std::optional<at::Tensor> Optional(const at::Tensor& bias) {
  return bias.defined() ? std::optional(bias) : std::nullopt;
}

at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return at::linear(x, weight, Optional(bias));
}

// [N, T, heads * d] -> [N, heads, T, d].
at::Tensor SplitHeads(const at::Tensor& x, int64_t head_dim) {
  return x.unflatten(-1, {-1, head_dim}).transpose(1, 2);
}

}  // namespace

FrozenLlama::FrozenLlama(const ModelConfig& config, const LlamaWeights& weights,
                         at::TensorOptions options)
    : config_(config), options_(options) {
  embedding_ = Load(weights.embedding, options);
  final_norm_ = LoadVector(weights.final_norm, options);
  head_ = weights.head.data == weights.embedding.data ? embedding_ : Load(weights.head, options);
  for (const LayerWeights& w : weights.layers) {
    Layer& layer = layers_.emplace_back();
    layer.attention_norm = LoadVector(w.attention_norm, options);
    layer.q = Load(w.q, options);
    layer.k = Load(w.k, options);
    layer.v = Load(w.v, options);
    layer.o = Load(w.o, options);
    layer.q_bias = LoadVector(w.q_bias, options);
    layer.k_bias = LoadVector(w.k_bias, options);
    layer.v_bias = LoadVector(w.v_bias, options);
    layer.o_bias = LoadVector(w.o_bias, options);
    layer.mlp_norm = LoadVector(w.mlp_norm, options);
    layer.gate = Load(w.gate, options);
    layer.up = Load(w.up, options);
    layer.down = Load(w.down, options);
    layer.gate_bias = LoadVector(w.gate_bias, options);
    layer.up_bias = LoadVector(w.up_bias, options);
    layer.down_bias = LoadVector(w.down_bias, options);
  }
  std::vector<double> frequencies = RopeFrequencies(config);
  frequencies_ = at::from_blob(frequencies.data(), {static_cast<int64_t>(frequencies.size())},
                               at::TensorOptions(at::kDouble))
                     .to(options.device(), at::kDouble, /*non_blocking=*/false, /*copy=*/true);
}

at::Tensor FrozenLlama::Norm(const at::Tensor& x, const at::Tensor& weight) const {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scale =
      at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + config_.rms_norm_epsilon);
  return (wide * scale * weight.to(at::kFloat)).to(x.scalar_type());
}

at::Tensor FrozenLlama::Rotate(const at::Tensor& x, const at::Tensor& positions) const {
  const at::Tensor angles = positions.to(at::kDouble).unsqueeze(-1) * frequencies_;
  const at::Tensor cosine = angles.cos().to(at::kFloat), sine = angles.sin().to(at::kFloat);
  const at::Tensor wide = x.to(at::kFloat);
  const int64_t half = config_.head_dim / 2;
  if (config_.rope_interleaved) {
    const at::Tensor pairs = wide.unflatten(-1, {half, 2});
    const at::Tensor a = pairs.select(-1, 0), b = pairs.select(-1, 1);
    return at::stack({a * cosine - b * sine, b * cosine + a * sine}, -1).flatten(-2);
  }
  const at::Tensor a = wide.narrow(-1, 0, half), b = wide.narrow(-1, half, half);
  return at::cat({a * cosine - b * sine, b * cosine + a * sine}, -1);
}

at::Tensor FrozenLlama::Embed(const at::Tensor& tokens) const {
  return at::embedding(embedding_, tokens);
}

AttentionInputs FrozenLlama::Project(int64_t layer, const at::Tensor& hidden) const {
  const Layer& w = layers_[layer];
  AttentionInputs out;
  out.x = Norm(hidden, w.attention_norm);
  out.unrotated_q = SplitHeads(Linear(out.x, w.q, w.q_bias), config_.head_dim);
  out.unrotated_k = SplitHeads(Linear(out.x, w.k, w.k_bias), config_.head_dim);
  out.v = SplitHeads(Linear(out.x, w.v, w.v_bias), config_.head_dim);
  const at::Tensor positions = at::arange(hidden.size(1), frequencies_.options().dtype(at::kLong));
  out.q = Rotate(out.unrotated_q, positions).to(hidden.scalar_type());
  out.k = Rotate(out.unrotated_k, positions).to(hidden.scalar_type());
  return out;
}

at::Tensor FrozenLlama::MergeHeads(int64_t layer, const at::Tensor& heads) const {
  const Layer& w = layers_[layer];
  return Linear(heads.transpose(1, 2).flatten(-2), w.o, w.o_bias);
}

at::Tensor FrozenLlama::FeedForward(int64_t layer, const at::Tensor& hidden) const {
  const Layer& w = layers_[layer];
  const at::Tensor x = Norm(hidden, w.mlp_norm);
  const at::Tensor gate = at::silu(Linear(x, w.gate, w.gate_bias));
  return Linear(gate * Linear(x, w.up, w.up_bias), w.down, w.down_bias);
}

at::Tensor FrozenLlama::FinalNorm(const at::Tensor& hidden) const {
  return Norm(hidden, final_norm_);
}

at::Tensor FrozenLlama::Logits(const at::Tensor& hidden) const {
  return at::linear(FinalNorm(hidden), head_).to(at::kFloat);
}

at::Tensor DenseAttention(const AttentionInputs& inputs) {
  const int64_t group = inputs.q.size(1) / inputs.k.size(1);
  return at::scaled_dot_product_attention(inputs.q, inputs.k.repeat_interleave(group, 1),
                                          inputs.v.repeat_interleave(group, 1), std::nullopt,
                                          /*dropout_p=*/0.0, /*is_causal=*/true);
}

}  // namespace sieve
