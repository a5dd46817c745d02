#include "kernels/cuda/tensor_map.h"

#include <cudaTypedefs.h>

#include "kernels/cuda/weight_tiles.h"

namespace sieve::cuda {
namespace {

// The driver's function, found at run time: programs start without a driver too.
PFN_cuTensorMapEncodeTiled_v12000 Encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                             12000, cudaEnableDefault, &found);
  if (error != cudaSuccess || found != cudaDriverEntryPointSuccess) return nullptr;
  return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
}

// A tensor of kF32, kF16 or kBF16, its dimensions from the innermost on; that one is contiguous.
template <int kDimensions>
cudaError_t Describe(const void* memory, DType dtype, const cuuint64_t (&sizes)[kDimensions],
                     const cuuint64_t (&stride_bytes)[kDimensions - 1],
                     const cuuint32_t (&box)[kDimensions], CUtensorMapSwizzle swizzle,
                     CUtensorMap* map) {
  static const PFN_cuTensorMapEncodeTiled_v12000 encode = Encoder();
  if (encode == nullptr) return cudaErrorNotSupported;
  cuuint32_t steps[kDimensions];
  for (cuuint32_t& step : steps) step = 1;
  const CUtensorMapDataType type = dtype == DType::kF32   ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32
                                   : dtype == DType::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                                          : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  const CUresult result =
      encode(map, type, kDimensions, const_cast<void*>(memory), sizes, stride_bytes, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace

cudaError_t DescribeRows(const void* matrix, DType dtype, int64_t rows, int64_t columns,
                         int box_rows, CUtensorMap* map) {
  constexpr int kBoxBytes = 128;
  const cuuint32_t element = dtype == DType::kF32 ? 4 : 2;
  return Describe<2>(
      matrix, dtype, {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)},
      {static_cast<cuuint64_t>(columns) * element},
      {kBoxBytes / element, static_cast<cuuint32_t>(box_rows)}, CU_TENSOR_MAP_SWIZZLE_128B, map);
}

cudaError_t DescribeWeights(const void* weights, DType dtype, int64_t outputs, int64_t inputs,
                            int box_tiles, CUtensorMap* map) {
  // A tile is four times 256 elements, the most that a box is wide.
  constexpr int kWidth = 256, kHeight = kWeightTileElements / kWidth;
  const auto across = static_cast<cuuint64_t>(WeightTilesAcross(inputs));
  const auto down = static_cast<cuuint64_t>((outputs + kWeightTileRows - 1) / kWeightTileRows);
  return Describe<3>(weights, dtype, {kWidth, kHeight * across, down},
                     {kWidth * 2, across * kWeightTileElements * 2},
                     {kWidth, kHeight, static_cast<cuuint32_t>(box_tiles)},
                     CU_TENSOR_MAP_SWIZZLE_NONE, map);
}

}  // namespace sieve::cuda
