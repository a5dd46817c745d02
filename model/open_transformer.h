#ifndef SIEVE_MODEL_OPEN_TRANSFORMER_H_
#define SIEVE_MODEL_OPEN_TRANSFORMER_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/dtype.h"
#include "model/config.h"
#include "model/transformer.h"
#include "model/weights.h"

namespace sieve {

enum class Device {
  kAuto,  // a CUDA device where there is one that can compute the model, else the CPU
  kCpu,
  kCuda,
};

// "auto", "cpu" or "cuda". INVALID_ARGUMENT for anything else.
absl::StatusOr<Device> ParseDevice(absl::string_view name);

// "f32", "f16" or "bf16"; empty: none. INVALID_ARGUMENT for anything else.
absl::StatusOr<std::optional<DType>> ParseCacheType(absl::string_view name);

struct RunOptions {
  Device device = Device::kAuto;
  int num_threads = 0;  // of the CPU; 0: one a core
  // kF32, kF16 or kBF16: of the cache, and on CUDA also of weights and activations. None: f16 on
  // the CPU, bf16 on CUDA.
  std::optional<DType> dtype;
  int64_t cache_bytes = 0;    // 0: 1 GiB on the CPU; on CUDA most of what is free
  int64_t summary_bytes = 0;  // see CacheGeometry
  // On CUDA, where cache_bytes is 0: parameters of adapters for which the cache leaves room, at
  // most a quarter of what is free.
  int64_t adapter_parameters = 0;
  // Limits of a step.
  int64_t max_step_tokens = 0;
  int64_t max_sequences = 0;
  int64_t max_context_tokens = 0;
};

// A model on the device that the options ask for. INVALID_ARGUMENT when the cache would hold no
// page, and the errors of Transformer::Create and CreateCudaTransformer.
absl::StatusOr<std::unique_ptr<Transformer>> OpenTransformer(const ModelConfig& config,
                                                             const LlamaWeights& weights,
                                                             const RunOptions& options);

}  // namespace sieve

#endif  // SIEVE_MODEL_OPEN_TRANSFORMER_H_
