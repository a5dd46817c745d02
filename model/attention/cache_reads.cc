#include "model/attention/cache_reads.h"

#include <algorithm>

#include "model/attention/candidate_blocks.h"
#include "model/attention/summary_layout.h"

namespace sieve {

double CacheReads::density() const {
  return causal_keys > 0 ? static_cast<double>(exact_keys) / static_cast<double>(causal_keys) : 1;
}

CacheReads& CacheReads::operator+=(const CacheReads& other) {
  causal_keys += other.causal_keys;
  exact_keys += other.exact_keys;
  key_value_bytes += other.key_value_bytes;
  choice_bytes += other.choice_bytes;
  entry_bytes += other.entry_bytes;
  return *this;
}

CacheReadCounter::CacheReadCounter(const CacheGeometry& cache)
    : dense_layers_(cache.num_layers),
      key_value_bytes_(cache.num_kv_heads * 2 * RowBytes(cache.dtype, cache.head_dim)) {}

CacheReadCounter::CacheReadCounter(const CacheGeometry& cache, const AdapterConfig& adapter)
    : CacheReadCounter(cache) {
  adapter_ = adapter;
  dense_layers_ = static_cast<int64_t>(adapter.dense_layers.size());
  sparse_layers_ = cache.num_layers - dense_layers_;
  const SummaryLayout layout = SummaryLayoutOf(adapter, cache.dtype);
  const SummaryParts parts = PartsOf(layout);
  entry_bytes_ = cache.num_kv_heads * parts.entries;
  if (adapter.selector == Selector::kOracle) {
    choice_bytes_ = cache.num_kv_heads * cache.HeadBytes();  // the keys themselves
  } else if (adapter.selector == Selector::kCompressed) {
    const int64_t values =
        layout.entry_values >= 0 ? layout.entries * RowBytes(cache.dtype, cache.head_dim) : 0;
    choice_bytes_ = cache.num_kv_heads * (parts.entries - values);
  } else {
    choice_bytes_ = cache.num_kv_heads * (parts.statistics + parts.index);
  }
}

CacheReads CacheReadCounter::Count(int64_t begin, int64_t count) const {
  CacheReads sum;
  while (count > 0) {
    const int64_t own = std::min(count, kPageTokens - begin % kPageTokens);
    sum += CountInBlock(begin, own);
    begin += own;
    count -= own;
  }
  return sum;
}

CacheReads CacheReadCounter::CountInBlock(int64_t begin, int64_t count) const {
  const int64_t causal = count * (begin + 1) + count * (count - 1) / 2;  // in one layer
  CacheReads reads;
  reads.causal_keys = (dense_layers_ + sparse_layers_) * causal;
  reads.exact_keys = reads.causal_keys;
  if (sparse_layers_ > 0) {
    const int64_t own = begin / kPageTokens;
    const int64_t candidates = CandidateBlocks(adapter_, own).count();
    const int64_t rest = std::max<int64_t>(0, candidates - adapter_.selected_blocks);
    const int64_t rows = sparse_layers_ * count;
    reads.exact_keys -= rows * rest * kPageTokens;
    if (rest > 0 && adapter_.selected_blocks > 0) {
      reads.choice_bytes = rows * candidates * choice_bytes_;
    }
    if (adapter_.combiner == Combiner::kLiteral) {
      reads.entry_bytes = rows * own * entry_bytes_;
    } else if (adapter_.tail) {
      reads.entry_bytes = rows * rest * entry_bytes_;
    }
  }
  reads.key_value_bytes = reads.exact_keys * key_value_bytes_;
  return reads;
}

double CacheReadCounter::SparseDensity(const CacheReads& reads) const {
  if (sparse_layers_ == 0) return 1;
  const double causal =
      static_cast<double>(reads.causal_keys) / static_cast<double>(dense_layers_ + sparse_layers_);
  if (!(causal > 0)) return 1;
  const double skipped = static_cast<double>(reads.causal_keys - reads.exact_keys);
  return 1 - skipped / (static_cast<double>(sparse_layers_) * causal);
}

void CacheReadTotals::Add(const CacheReads& reads) {
  bytes_[0].fetch_add(reads.key_value_bytes, std::memory_order_relaxed);
  bytes_[1].fetch_add(reads.choice_bytes, std::memory_order_relaxed);
  bytes_[2].fetch_add(reads.entry_bytes, std::memory_order_relaxed);
  exact_keys_.fetch_add(reads.exact_keys, std::memory_order_relaxed);
  // Last, and read first: whoever sees keys skipped sees those that were read with them.
  skipped_keys_.fetch_add(reads.causal_keys - reads.exact_keys, std::memory_order_release);
}

CacheReads CacheReadTotals::Get() const {
  const int64_t skipped = skipped_keys_.load(std::memory_order_acquire);
  const int64_t exact = exact_keys_.load(std::memory_order_relaxed);
  const auto bytes = [this](int i) { return bytes_[i].load(std::memory_order_relaxed); };
  return {.causal_keys = exact + skipped,
          .exact_keys = exact,
          .key_value_bytes = bytes(0),
          .choice_bytes = bytes(1),
          .entry_bytes = bytes(2)};
}

}  // namespace sieve
