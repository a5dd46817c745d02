#ifndef SIEVE_KERNELS_CUDA_TENSOR_MAP_H_
#define SIEVE_KERNELS_CUDA_TENSOR_MAP_H_

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/dtype.h"

namespace sieve::cuda {

// Describes for the copy engine a row-major matrix [rows, columns] of kF32, kF16 or kBF16, to be
// fetched or stored `box_rows` rows of 128 bytes at a time; what lies outside comes as zeros and is
// not stored. In shared memory the 16-byte chunks of each row are permuted as in weight_tiles.h.
// `matrix` and its rows are 16-byte aligned, `box_rows` is at most 256.
// cudaErrorNotSupported where the driver cannot.
cudaError_t DescribeRows(const void* matrix, DType dtype, int64_t rows, int64_t columns,
                         int box_rows, CUtensorMap* map);

// The same for tiles of weights [outputs, inputs] in weight_tiles.h's order: `box_tiles` tiles of
// 16 outputs at a time, one after the other, at (0, 4 * tile of inputs, tile of outputs). At most
// 256.
cudaError_t DescribeWeights(const void* weights, DType dtype, int64_t outputs, int64_t inputs,
                            int box_tiles, CUtensorMap* map);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_TENSOR_MAP_H_
