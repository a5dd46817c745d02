#ifndef SIEVE_MODEL_CUDA_CUDA_TRANSFORMER_H_
#define SIEVE_MODEL_CUDA_CUDA_TRANSFORMER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/dtype.h"
#include "model/config.h"
#include "model/transformer.h"
#include "model/weights.h"

namespace sieve {

struct CudaTransformerOptions {
  // Of weights, activations and cache: kF32 (for checking), kF16 or kBF16.
  DType dtype = DType::kBF16;
  int64_t cache_pages = 0;  // 0: as many as most of the memory that is left holds
  int64_t max_step_tokens = 0;
  int64_t max_sequences = 0;       // of a step
  int64_t max_context_tokens = 0;  // of a sequence
  // Room for the summaries that adapters keep, see CacheGeometry: a multiple of kSummaryAlignment;
  // 0: there are no adapters.
  int64_t summary_bytes = 0;
  // That a cache of 0 pages leaves free for adapters, at most a quarter of what there is.
  int64_t adapter_bytes = 0;
  // Of sparse attention: what a step has no room for here is computed one part after the other. 0:
  // SparseScratchFor.
  int64_t scratch_bytes = 0;
};

// Why there is no device to compute on (none, a driver too old, built without CUDA), or OK.
absl::Status CudaAvailable();

// INVALID_ARGUMENT, naming it, for what the kernels do not support.
absl::Status CudaSupports(const ModelConfig& config);

// A Llama on the first CUDA device that is visible. The weights are copied; they may go when this
// returns. Steps that only decode are replayed as CUDA graphs. FAILED_PRECONDITION without a
// device, INVALID_ARGUMENT for what the kernels do not support (named), RESOURCE_EXHAUSTED when
// device memory runs out.
absl::StatusOr<std::unique_ptr<Transformer>> CreateCudaTransformer(
    const ModelConfig& config, const LlamaWeights& weights, const CudaTransformerOptions& options);

}  // namespace sieve

#endif  // SIEVE_MODEL_CUDA_CUDA_TRANSFORMER_H_
