#ifndef SIEVE_MODEL_CUDA_CUDA_MATRIX_H_
#define SIEVE_MODEL_CUDA_CUDA_MATRIX_H_

#include <cstdint>

#include "kernels/cuda/weight_tiles.h"

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

}  // namespace sieve

#endif  // SIEVE_MODEL_CUDA_CUDA_MATRIX_H_
