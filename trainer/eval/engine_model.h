#ifndef SIEVE_TRAINER_EVAL_ENGINE_MODEL_H_
#define SIEVE_TRAINER_EVAL_ENGINE_MODEL_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/dtype.h"
#include "model/open_transformer.h"
#include "model/transformer.h"
#include "trainer/eval/variant.h"

namespace sieve {

struct EngineModelOptions {
  Device device = Device::kAuto;
  int num_threads = 0;           // of the CPU; 0: one a core
  std::optional<DType> dtype{};  // see RunOptions
  int64_t cache_pages = 1;
  int64_t max_step_tokens = 512;
  int64_t max_sequences = 1;  // of a step
  int64_t max_context_tokens = 1;
};

// The model as the server runs it, with variant v in adapter slot v. The errors of OpenTransformer
// and SetAdapter.
absl::StatusOr<std::unique_ptr<Transformer>> OpenEngineModel(const ModelConfig& config,
                                                             const LlamaWeights& weights,
                                                             absl::Span<const Variant> variants,
                                                             const EngineModelOptions& options);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_ENGINE_MODEL_H_
