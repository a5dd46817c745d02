#ifndef SIEVE_MODEL_ATTENTION_CACHE_READS_H_
#define SIEVE_MODEL_ATTENTION_CACHE_READS_H_

#include <array>
#include <atomic>
#include <cstdint>

#include "model/adapter/adapter_config.h"
#include "model/cache/geometry.h"

namespace sieve {

// What attention reads of the cache: sums over tokens and layers. Each token counts for itself,
// also where tokens that are computed together share what is fetched. Bytes are of all key/value
// heads.
struct CacheReads {
  int64_t causal_keys = 0;      // before and at the tokens, which dense attention reads
  int64_t exact_keys = 0;       // of them, those that are read
  int64_t key_value_bytes = 0;  // of the exact ones
  int64_t choice_bytes = 0;     // of the summaries by which blocks are chosen
  int64_t entry_bytes = 0;      // of the compressed entries of the other blocks

  int64_t bytes() const { return key_value_bytes + choice_bytes + entry_bytes; }
  // exact_keys / causal_keys; 1 of nothing.
  double density() const;
  CacheReads& operator+=(const CacheReads& other);
};

// Knows what attention reads from positions alone: how many blocks a token chooses does not depend
// on which they are.
class CacheReadCounter {
 public:
  CacheReadCounter() = default;  // of a model without layers
  // All layers dense.
  explicit CacheReadCounter(const CacheGeometry& cache);
  // With an adapter for the same shape.
  CacheReadCounter(const CacheGeometry& cache, const AdapterConfig& adapter);

  // For the tokens at positions [begin, begin + count) of a sequence.
  CacheReads Count(int64_t begin, int64_t count) const;

  // exact / causal keys of one sparse layer, when all layers together read `reads`.
  double SparseDensity(const CacheReads& reads) const;

 private:
  // Of the tokens [begin, begin + count) of one block.
  CacheReads CountInBlock(int64_t begin, int64_t count) const;

  AdapterConfig adapter_;
  int64_t dense_layers_ = 0, sparse_layers_ = 0;
  int64_t key_value_bytes_ = 0;  // of a token in a layer
  int64_t choice_bytes_ = 0;     // of a block in a layer
  int64_t entry_bytes_ = 0;      // of a block in a layer
};

// A sum that one thread adds to and others read, perhaps in the middle of an addition. From one
// reading to the next neither the exact keys nor the others become fewer, so that both can be
// counters; density and sparse density stay within [0, 1].
class CacheReadTotals {
 public:
  void Add(const CacheReads& reads);
  CacheReads Get() const;

 private:
  // Not the causal keys: they and the exact ones, read apart, have no difference that only grows.
  std::atomic<int64_t> exact_keys_{0}, skipped_keys_{0};
  std::array<std::atomic<int64_t>, 3> bytes_{};  // in the order of the members
};

}  // namespace sieve

#endif  // SIEVE_MODEL_ATTENTION_CACHE_READS_H_
