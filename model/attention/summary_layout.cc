#include "model/attention/summary_layout.h"

#include <algorithm>

#include "model/cache/geometry.h"

namespace sieve {
namespace {

// Appends a part of `bytes` and returns where it starts.
int64_t Add(SummaryLayout* layout, int64_t bytes) {
  const int64_t start = layout->bytes;
  layout->bytes += (bytes + kSummaryAlignment - 1) / kSummaryAlignment * kSummaryAlignment;
  return start;
}

void AddIndex(const AdapterConfig& c, SummaryLayout* out) {
  out->index_rank = c.index_rank;
  out->index_bits = c.index_bits;
  if (c.index_bits == 4) {
    out->index_lo = Add(out, c.index_rank * sizeof(float));
    out->index_step = Add(out, c.index_rank * sizeof(float));
    out->index_codes = Add(out, c.index_rank * kPageTokens / 2);
  } else {
    out->index_codes = Add(out, c.index_rank * RowBytes(out->dtype, kPageTokens));
  }
}

}  // namespace

SummaryLayout SummaryLayoutOf(const AdapterConfig& c, DType cache_dtype) {
  SummaryLayout out;
  out.dtype = cache_dtype;
  out.head_dim = c.head_dim;
  const int64_t row = RowBytes(cache_dtype, c.head_dim);
  const Selector s = c.selector;
  if (s == Selector::kMean || s == Selector::kQuestMean || s == Selector::kIndex) {
    out.mean = Add(&out, row);
  }
  const bool quest = s == Selector::kQuest || s == Selector::kQuestMean;
  if (s == Selector::kMax || quest) out.max = Add(&out, row);
  if (quest) out.min = Add(&out, row);
  if (s == Selector::kGate) out.gate = Add(&out, row);
  if (s == Selector::kIndex) AddIndex(c, &out);
  if (!c.has_compressed_branch()) return out;
  out.entries = c.entries_per_block();
  out.entry_keys = Add(&out, out.entries * row);
  // The scores need no values.
  if (c.tail || c.combiner == Combiner::kLiteral) out.entry_values = Add(&out, out.entries * row);
  if (c.key_compression == Compression::kTilted) {
    out.entry_biases = Add(&out, out.entries * static_cast<int64_t>(sizeof(float)));
  }
  return out;
}

// They lie in this order.
SummaryParts PartsOf(const SummaryLayout& layout) {
  const int64_t entries = layout.entry_keys >= 0 ? layout.entry_keys : layout.bytes;
  const int64_t codes = layout.index_codes >= 0 ? layout.index_codes : entries;
  const int64_t index = layout.index_lo >= 0 ? layout.index_lo : codes;
  return {.statistics = index, .index = entries - index, .entries = layout.bytes - entries};
}

}  // namespace sieve
