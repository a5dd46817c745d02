#ifndef SIEVE_MODEL_TRANSFORMER_H_
#define SIEVE_MODEL_TRANSFORMER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "model/cache/geometry.h"
#include "model/config.h"
#include "model/language_model.h"
#include "model/weights.h"

namespace sieve {

struct TransformerOptions {
  int num_threads = 0;              // 0: one a core
  int64_t cache_pages = 0;          // pages of the cache, at least 1
  DType cache_dtype = DType::kF16;  // kF32, kF16 or kBF16
  // Room for the summaries that adapters keep, see CacheGeometry: a multiple of kSummaryAlignment.
  int64_t summary_bytes = 0;
};

// Bytes in use by purpose.
struct MemoryUse {
  const char* device = "host";  // whose memory it is: "host" or "cuda:0"
  int64_t weights = 0;          // views into mapped files
  int64_t cache = 0;            // pages, reserved
  int64_t summaries = 0;        // of the cache, what adapters keep of blocks
  int64_t adapters = 0;         // their weights
  int64_t workspace = 0;        // activations, grown to the largest step so far
};

// A Llama on the CPU with its paged cache. Weights stay in the types that the checkpoint stores
// them in.
class Transformer : public LanguageModel {
 public:
  // `weights` point into memory that must outlive the model (a Checkpoint). RESOURCE_EXHAUSTED when
  // the cache cannot be allocated, INVALID_ARGUMENT for what the kernels do not support (named).
  static absl::StatusOr<std::unique_ptr<Transformer>> Create(const ModelConfig& config,
                                                             const LlamaWeights& weights,
                                                             const TransformerOptions& options);

  virtual const ModelConfig& config() const = 0;
  virtual const CacheGeometry& geometry() const = 0;
  virtual MemoryUse memory() const = 0;  // thread-safe, also during a step
};

}  // namespace sieve

#endif  // SIEVE_MODEL_TRANSFORMER_H_
