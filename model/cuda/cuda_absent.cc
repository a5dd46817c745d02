// What stands for the CUDA transformer in a build without a CUDA toolkit.

#include "absl/status/status.h"
#include "model/cuda/cuda_transformer.h"

namespace sieve {

absl::Status CudaAvailable() {
  return absl::FailedPreconditionError(
      "this program was built without CUDA: build it where a CUDA toolkit is (CUDA_HOME)");
}

absl::Status CudaSupports(const ModelConfig&) { return CudaAvailable(); }

absl::StatusOr<std::unique_ptr<Transformer>> CreateCudaTransformer(const ModelConfig&,
                                                                   const LlamaWeights&,
                                                                   const CudaTransformerOptions&) {
  return CudaAvailable();
}

}  // namespace sieve
