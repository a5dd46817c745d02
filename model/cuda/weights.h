#ifndef SIEVE_MODEL_CUDA_WEIGHTS_H_
#define SIEVE_MODEL_CUDA_WEIGHTS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/dtype.h"
#include "model/config.h"
#include "model/cuda/memory.h"
#include "model/weights.h"

namespace sieve {

// Device pointers. Matrices are [outputs, inputs] of the model's element type, vectors are floats;
// absent biases null.
struct CudaLayerWeights {
  const float* attention_norm = nullptr;
  const void* qkv = nullptr;  // [(num_heads + 2 num_kv_heads) head_dim, hidden]: q, k, v
  const float* qkv_bias = nullptr;
  const void* o = nullptr;  // [hidden, num_heads * head_dim]
  const float* o_bias = nullptr;
  const float* mlp_norm = nullptr;
  const void* gate_up = nullptr;  // [2 intermediate, hidden]: gate, then up
  const float* gate_up_bias = nullptr;
  const void* down = nullptr;  // [hidden, intermediate]
  const float* down_bias = nullptr;
};

// A Llama's weights in device memory.
class CudaWeights {
 public:
  // Converts to `dtype` (kF32, kF16 or kBF16) on the way. Errors as CudaMemory's.
  static absl::StatusOr<CudaWeights> Upload(const ModelConfig& config, const LlamaWeights& weights,
                                            DType dtype);

  int64_t bytes() const { return memory_.bytes(); }

  const void* embedding = nullptr;  // [vocabulary, hidden]
  const void* head = nullptr;       // [vocabulary, hidden]; the embedding when tied
  const float* final_norm = nullptr;
  std::vector<CudaLayerWeights> layers;

 private:
  CudaMemory memory_;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CUDA_WEIGHTS_H_
