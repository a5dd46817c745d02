#ifndef SIEVE_MODEL_CUDA_WEIGHTS_H_
#define SIEVE_MODEL_CUDA_WEIGHTS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/dtype.h"
#include "model/config.h"
#include "model/cuda/cuda_matrix.h"
#include "model/cuda/memory.h"
#include "model/weights.h"

namespace sieve {

struct CudaLayerWeights {
  const float* attention_norm = nullptr;
  CudaMatrix qkv;  // q, k, v below each other
  CudaMatrix o;
  const float* mlp_norm = nullptr;
  CudaMatrix gate_up;  // at GateRow and UpRow (weight_tiles.h)
  CudaMatrix down;
};

// A Llama's weights in device memory.
class CudaWeights {
 public:
  // Converts to `dtype` (kF32, kF16 or kBF16) on the way. Errors as CudaMemory's.
  static absl::StatusOr<CudaWeights> Upload(const ModelConfig& config, const LlamaWeights& weights,
                                            DType dtype);

  int64_t bytes() const { return memory_.bytes(); }

  CudaMatrix embedding;  // [vocabulary, hidden]
  CudaMatrix head;       // the embedding when tied
  const float* final_norm = nullptr;
  std::vector<CudaLayerWeights> layers;

 private:
  CudaMemory memory_;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CUDA_WEIGHTS_H_
