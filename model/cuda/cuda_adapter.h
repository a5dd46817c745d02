#ifndef SIEVE_MODEL_CUDA_CUDA_ADAPTER_H_
#define SIEVE_MODEL_CUDA_CUDA_ADAPTER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/block_summary.h"
#include "model/adapter/adapter.h"
#include "model/cache/geometry.h"
#include "model/config.h"
#include "model/cuda/cuda_matrix.h"
#include "model/cuda/memory.h"

namespace sieve {

// An MLP beside the mean or maximum of an entry, one a key/value head; empty: there is none.
struct CudaEntryMlp {
  std::vector<CudaMatrix> up;    // [num_kv_heads] of [inner, l d]
  std::vector<CudaMatrix> down;  // [num_kv_heads] of [d, inner]
};

// One layer's tensors: device pointers, null where there is none. Floats; the matrices are of the
// model's type.
struct CudaAdapterLayer {
  const float* index_q = nullptr;         // [num_kv_heads, d, rank]
  const float* index_k = nullptr;         // [num_kv_heads, d, rank]
  const float* gate_q = nullptr;          // [num_kv_heads, G d, d]: transposed
  const float* gate_k = nullptr;          // [num_kv_heads, 3 d, d]: transposed
  const float* tilt = nullptr;            // [num_kv_heads, d]
  const float* query_shift = nullptr;     // [num_heads, d]
  const float* bias = nullptr;            // [num_heads]
  const float* key_position = nullptr;    // [num_kv_heads, l, d]
  const float* value_position = nullptr;  // [num_kv_heads, l, d]
  CudaEntryMlp keys, values;
  CudaMatrix combine;  // [parts num_heads, hidden], and rows of zeros up to a multiple of 16
};

// An adapter in device memory.
class CudaAdapter {
 public:
  // INVALID_ARGUMENT and RESOURCE_EXHAUSTED as CheckAdapter, INVALID_ARGUMENT for the oracle, which
  // is no selector of this engine, RESOURCE_EXHAUSTED when device memory runs out.
  static absl::StatusOr<std::unique_ptr<CudaAdapter>> Upload(
      const ModelConfig& model, const CacheGeometry& cache,
      const std::shared_ptr<const Adapter>& adapter);

  const AdapterConfig& config() const { return config_; }
  const SummaryLayout& layout() const { return layout_; }
  const CudaAdapterLayer& layer(int64_t layer) const { return layers_[layer]; }
  // Of the MLPs: inner units, with those that fill them up to a multiple of 8.
  int64_t inner() const { return inner_; }
  int64_t bytes() const { return memory_.bytes(); }

 private:
  CudaAdapter(const AdapterConfig& config, const SummaryLayout& layout)
      : config_(config), layout_(layout) {}

  const AdapterConfig config_;
  const SummaryLayout layout_;
  int64_t inner_ = 0;
  CudaMemory memory_;
  std::vector<CudaAdapterLayer> layers_;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CUDA_CUDA_ADAPTER_H_
