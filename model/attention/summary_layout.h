#ifndef SIEVE_MODEL_ATTENTION_SUMMARY_LAYOUT_H_
#define SIEVE_MODEL_ATTENTION_SUMMARY_LAYOUT_H_

#include "kernels/block_summary.h"
#include "kernels/dtype.h"
#include "model/adapter/adapter_config.h"

namespace sieve {

// What an adapter keeps of a block, beside keys and values of type `cache_dtype`: only what it
// reads. Its `bytes` are what CacheGeometry::summary_bytes must at least be.
SummaryLayout SummaryLayoutOf(const AdapterConfig& config, DType cache_dtype);

// Bytes of a block's summary of one key/value head, by kind.
struct SummaryParts {
  int64_t statistics = 0;  // means, maxima, minima, the gate's vectors
  int64_t index = 0;
  int64_t entries = 0;  // compressed keys and values, and what belongs to them
};
SummaryParts PartsOf(const SummaryLayout& layout);

}  // namespace sieve

#endif  // SIEVE_MODEL_ATTENTION_SUMMARY_LAYOUT_H_
