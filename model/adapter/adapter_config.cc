#include "model/adapter/adapter_config.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

constexpr int64_t kBlockTokens = 64;

bool OneOf(int64_t value, std::initializer_list<int64_t> allowed) {
  return std::find(allowed.begin(), allowed.end(), value) != allowed.end();
}

absl::Status Invalid(absl::string_view field, absl::string_view expected, int64_t value) {
  return absl::InvalidArgumentError(absl::StrCat(field, " must be ", expected, ", not ", value));
}

absl::Status CheckRange(absl::string_view field, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return Invalid(field, absl::StrCat(least, " to ", most), value);
}

absl::Status CheckShape(const AdapterConfig& c) {
  absl::Status status = CheckRange("num_layers", c.num_layers, 1, 1024);
  status.Update(CheckRange("hidden_size", c.hidden_size, 1, 1 << 20));
  status.Update(CheckRange("num_heads", c.num_heads, 1, 4096));
  status.Update(CheckRange("num_kv_heads", c.num_kv_heads, 1, 4096));
  status.Update(CheckRange("head_dim", c.head_dim, 1, 1024));
  if (status.ok() && c.num_heads % c.num_kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_heads (", c.num_heads, ") is no multiple of num_kv_heads (", c.num_kv_heads, ")"));
  }
  return status;
}

absl::Status CheckPattern(const AdapterConfig& c) {
  absl::Status status = CheckRange("sink_blocks", c.sink_blocks, 0, 1024);
  status.Update(CheckRange("window_blocks", c.window_blocks, 0, 1024));
  status.Update(CheckRange("selected_blocks", c.selected_blocks, 0, 1024));
  if (status.ok() && !OneOf(c.query_tile, {1, 16, 64})) {
    return Invalid("query_tile", "1, 16 or 64", c.query_tile);
  }
  for (size_t i = 0; status.ok() && i < c.dense_layers.size(); ++i) {
    const int64_t layer = c.dense_layers[i];
    status.Update(CheckRange("dense_layers", layer, 0, c.num_layers - 1));
    if (status.ok() && i > 0 && layer <= c.dense_layers[i - 1]) {
      return absl::InvalidArgumentError("dense_layers must be ascending");
    }
  }
  return status;
}

absl::Status CheckSelector(const AdapterConfig& c) {
  if (c.selector != Selector::kIndex) return absl::OkStatus();
  absl::Status status = CheckRange("index_rank", c.index_rank, 1, c.head_dim);
  if (status.ok() && !OneOf(c.index_bits, {4, 16})) {
    return Invalid("index_bits", "4 or 16", c.index_bits);
  }
  return status;
}

absl::Status CheckCompression(const AdapterConfig& c) {
  if (!OneOf(c.compression_block, {8, 16, 32, 64})) {
    return Invalid("compression_block", "8, 16, 32 or 64", c.compression_block);
  }
  if ((c.key_compression == Compression::kTilted) !=
      (c.value_compression == Compression::kTilted)) {
    return absl::InvalidArgumentError(
        "tilted compression is of both keys and values, or of neither");
  }
  if (c.value_residual_mlp && c.value_compression != Compression::kTilted) {
    return absl::InvalidArgumentError("value_residual_mlp belongs to tilted compression");
  }
  if (!std::isfinite(c.expand_factor) || c.expand_factor <= 0 || c.expand_factor > 16 ||
      c.inner_size() < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("expand_factor must be over 0 and at most 16, not ", c.expand_factor));
  }
  if (c.branch_biases && (c.combiner != Combiner::kLogSumExp || !c.tail)) {
    return absl::InvalidArgumentError(
        "branch_biases belongs to the log_sum_exp combiner with a tail");
  }
  return absl::OkStatus();
}

}  // namespace

int64_t AdapterConfig::entries_per_block() const { return kBlockTokens / compression_block; }

int64_t AdapterConfig::inner_size() const {
  return std::llround(expand_factor * static_cast<double>(compression_block * head_dim));
}

bool AdapterConfig::is_dense(int64_t layer) const {
  return std::binary_search(dense_layers.begin(), dense_layers.end(), layer);
}

bool AdapterConfig::has_compressed_branch() const {
  return combiner == Combiner::kLiteral || tail || selector == Selector::kCompressed;
}

int64_t AdapterConfig::combined_parts() const {
  if (combiner == Combiner::kLiteral) return 3;
  if (!tail) return 0;
  return branch_biases ? 3 : 1;
}

absl::Status ValidateAdapterConfig(const AdapterConfig& config) {
  absl::Status status = CheckShape(config);
  if (status.ok()) status = CheckPattern(config);
  if (status.ok()) status = CheckSelector(config);
  if (status.ok()) status = CheckCompression(config);
  return status;
}

}  // namespace sieve
