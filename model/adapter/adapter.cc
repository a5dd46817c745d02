#include "model/adapter/adapter.h"

namespace sieve {
namespace {

using L = AdapterLayer;

void AddCompression(const AdapterConfig& c, std::vector<AdapterTensor>* out) {
  const int64_t heads = c.shared_compression ? 1 : c.num_kv_heads;
  const int64_t inputs = c.compression_block * c.head_dim;
  const std::vector<int64_t> position = {c.num_kv_heads, c.compression_block, c.head_dim};
  const std::vector<int64_t> up = {heads, c.inner_size(), inputs};
  const std::vector<int64_t> down = {heads, c.head_dim, c.inner_size()};
  if (c.key_compression == Compression::kTilted) {
    out->push_back({"compress.tilt", {c.num_kv_heads, c.head_dim}, &L::tilt});
    out->push_back({"compress.query_shift", {c.num_heads, c.head_dim}, &L::query_shift});
  }
  if (c.combiner == Combiner::kLogSumExp)
    out->push_back({"compress.bias", {c.num_heads}, &L::bias});
  if (c.position_embeddings) {
    out->push_back({"compress.key_position", position, &L::key_position});
    out->push_back({"compress.value_position", position, &L::value_position});
  }
  if (c.key_compression == Compression::kMlp) {
    out->push_back({"compress.key_up", up, &L::key_up});
    out->push_back({"compress.key_down", down, &L::key_down});
  }
  if (c.value_compression == Compression::kMlp || c.value_residual_mlp) {
    out->push_back({"compress.value_up", up, &L::value_up});
    out->push_back({"compress.value_down", down, &L::value_down});
  }
}

}  // namespace

std::vector<AdapterTensor> AdapterTensors(const AdapterConfig& c) {
  std::vector<AdapterTensor> out;
  const int64_t d = c.head_dim;
  const int64_t group = c.num_heads / c.num_kv_heads;
  if (c.selector == Selector::kIndex) {
    out.push_back({"index.q", {c.num_kv_heads, d, c.index_rank}, &L::index_q});
    out.push_back({"index.k", {c.num_kv_heads, d, c.index_rank}, &L::index_k});
  }
  if (c.selector == Selector::kGate) {
    out.push_back({"gate.q", {c.num_kv_heads, d, group * d}, &L::gate_q});
    out.push_back({"gate.k", {c.num_kv_heads, d, 3 * d}, &L::gate_k});
  }
  if (c.has_compressed_branch()) AddCompression(c, &out);
  if (const int64_t parts = c.combined_parts(); parts > 0) {
    out.push_back({"combine.weight", {parts, c.num_heads, c.hidden_size}, &L::combine_weight});
    out.push_back({"combine.bias", {parts, c.num_heads}, &L::combine_bias});
  }
  return out;
}

}  // namespace sieve
