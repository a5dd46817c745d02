#ifndef SIEVE_MODEL_CUDA_WEIGHTS_H_
#define SIEVE_MODEL_CUDA_WEIGHTS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cuda/weight_tiles.h"
#include "kernels/dtype.h"
#include "model/config.h"
#include "model/cuda/memory.h"
#include "model/weights.h"

namespace sieve {

// Device pointers: data [outputs, inputs] of the model's element type (16 bits: in the order of
// kernels/cuda/weight_tiles.h), bias [outputs] or null.
struct CudaMatrix {
  const void* data = nullptr;
  const float* bias = nullptr;
  int64_t outputs = 0;
  int64_t inputs = 0;

  // The `count` outputs from `first` on, a multiple of 16.
  CudaMatrix Part(int64_t first, int64_t count, int64_t element_bytes) const {
    const int64_t before =
        element_bytes == 2 ? cuda::TiledOffset(first, 0, inputs) : first * inputs;
    return {static_cast<const char*>(data) + before * element_bytes,
            bias == nullptr ? nullptr : bias + first, count, inputs};
  }
};

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
