#include "trainer/compression.h"

#include <cmath>
#include <string>
#include <vector>

namespace sieve {
namespace {

// Tokens by entry: [N, K, E, l, d]; with a position embedding where the layer has one.
at::Tensor Entries(const at::Tensor& x, int64_t entry_tokens, const at::Tensor& position) {
  const at::Tensor tokens = x.unflatten(2, {-1, entry_tokens});
  return position.defined() ? tokens + position.unsqueeze(1) : tokens;
}

// down · gelu(up · concat(tokens)); matrices of one head serve all.
at::Tensor Mlp(const at::Tensor& tokens, const at::Tensor& up, const at::Tensor& down) {
  const at::Tensor inputs = tokens.flatten(-2);  // [N, K, E, l·d]
  return at::matmul(at::gelu(at::matmul(inputs, up.transpose(-1, -2))), down.transpose(-1, -2));
}

at::Tensor Pool(Compression kind, const at::Tensor& tokens, const LayerTensors& layer,
                const std::string& side) {
  if (kind == Compression::kMax) return std::get<0>(tokens.max(-2));
  const at::Tensor mean = tokens.mean(-2);
  if (kind != Compression::kMlp) return mean;
  return mean + Mlp(tokens, TensorOf(layer, "compress." + side + "_up"),
                    TensorOf(layer, "compress." + side + "_down"));
}

CompressedEntries Tilted(const AdapterConfig& config, const LayerTensors& layer,
                         const at::Tensor& k, const at::Tensor& v, const at::Tensor& placed_v) {
  const double scale = 1 / std::sqrt(static_cast<double>(config.head_dim));
  const at::Tensor u = TensorOf(layer, "compress.tilt").unsqueeze(1).unsqueeze(-1);  // [K, 1, d, 1]
  const at::Tensor logits = at::matmul(k, u).squeeze(-1) * scale;                    // [N, K, E, l]
  const at::Tensor p = at::softmax(logits, -1).unsqueeze(-2);
  CompressedEntries out;
  out.k = at::matmul(p, k).squeeze(-2);
  out.v = at::matmul(p, v).squeeze(-2);
  out.bias = at::logsumexp(logits, {-1}) - at::matmul(out.k, u.squeeze(1)).squeeze(-1) * scale;
  if (config.value_residual_mlp) {
    out.v = out.v + Mlp(placed_v, TensorOf(layer, "compress.value_up"),
                        TensorOf(layer, "compress.value_down"));
  }
  return out;
}

}  // namespace

CompressedEntries CompressBlocks(const AdapterConfig& config, const LayerTensors& layer,
                                 const at::Tensor& k, const at::Tensor& v) {
  const int64_t tokens = config.compression_block;
  const at::Tensor placed_v = Entries(v, tokens, TensorOf(layer, "compress.value_position"));
  if (config.key_compression == Compression::kTilted) {
    return Tilted(config, layer, Entries(k, tokens, {}), Entries(v, tokens, {}), placed_v);
  }
  const at::Tensor placed_k = Entries(k, tokens, TensorOf(layer, "compress.key_position"));
  CompressedEntries out;
  out.k = Pool(config.key_compression, placed_k, layer, "key");
  out.v = Pool(config.value_compression, placed_v, layer, "value");
  out.bias =
      at::full(out.k.sizes().slice(0, 3), std::log(static_cast<double>(tokens)), out.k.options());
  return out;
}

}  // namespace sieve
