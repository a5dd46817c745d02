#ifndef SIEVE_MODEL_ATTENTION_ADAPTER_CHECK_H_
#define SIEVE_MODEL_ATTENTION_ADAPTER_CHECK_H_

#include "absl/status/status.h"
#include "model/adapter/adapter.h"
#include "model/cache/geometry.h"
#include "model/config.h"

namespace sieve {

// Whether a model with such a cache can compute an adapter, wherever it computes. INVALID_ARGUMENT
// for one of another shape than the model's or with tensors that are not those of its
// configuration; RESOURCE_EXHAUSTED when its summaries are larger than the cache's.
absl::Status CheckAdapter(const ModelConfig& model, const CacheGeometry& cache,
                          const Adapter& adapter);

}  // namespace sieve

#endif  // SIEVE_MODEL_ATTENTION_ADAPTER_CHECK_H_
