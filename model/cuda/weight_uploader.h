#ifndef SIEVE_MODEL_CUDA_WEIGHT_UPLOADER_H_
#define SIEVE_MODEL_CUDA_WEIGHT_UPLOADER_H_

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "kernels/dtype.h"
#include "kernels/tensor_view.h"
#include "model/cuda/carver.h"
#include "model/cuda/cuda_matrix.h"
#include "model/cuda/memory.h"

namespace sieve {

// How the rows of several tensors make one matrix.
enum class RowOrder { kBelowEachOther, kGateUp };

// The places of all tensors, and the copies that fill them. Planned twice: to count, with a null
// base and no staging, and with memory.
class WeightUploader {
 public:
  // Matrices become `dtype` (kF32, kF16 or kBF16). They travel through `staging`, which is
  // page-locked.
  WeightUploader(char* base, DType dtype, CudaMemory* staging)
      : carver_(base), dtype_(dtype), staging_(staging) {}

  // Matrices with the same number of columns, and their biases.
  CudaMatrix Matrix(absl::Span<const TensorView> parts, absl::Span<const TensorView> biases = {},
                    RowOrder order = RowOrder::kBelowEachOther);

  // The elements of vectors as floats; null when there is none or the first is absent.
  const float* Vector(absl::Span<const TensorView> parts,
                      RowOrder order = RowOrder::kBelowEachOther);

  // Floats as they are; null when there are none.
  const float* Floats(absl::Span<const float> values);

  // Whether there is memory to fill; else it counts, and reads no values.
  bool fills() const { return staging_ != nullptr; }
  int64_t bytes() const { return carver_.bytes(); }
  cudaError_t error() const { return error_; }  // of the first copy that failed

 private:
  void Copy(absl::Span<const TensorView> parts, RowOrder order, int64_t rows, int64_t block_rows,
            int64_t block_bytes, char* to);
  void Convert(const TensorView& from, int64_t row, int64_t row_in_block, char* block);

  Carver carver_;
  const DType dtype_;
  CudaMemory* const staging_;
  std::vector<float> floats_;
  std::vector<uint16_t> halves_;
  cudaError_t error_ = cudaSuccess;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CUDA_WEIGHT_UPLOADER_H_
