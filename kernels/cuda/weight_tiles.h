#ifndef SIEVE_KERNELS_CUDA_WEIGHT_TILES_H_
#define SIEVE_KERNELS_CUDA_WEIGHT_TILES_H_

#include <cstdint>

#include "kernels/cuda/host_device.h"

namespace sieve::cuda {

// Matrices of 16-bit weights lie in device memory in the order in which tensor cores read them, so
// that kernels for one token and for thousands fetch them with plain bulk copies: tiles of 16
// outputs × 64 inputs, 2 KB each, the tiles of 16 outputs one after the other. In a tile, a row is
// 128 bytes, and its 16-byte chunks are permuted as in TMA's 128-byte swizzle (chunk c of row r is
// at c ^ r % 8), so that neither ldmatrix nor wgmma meets a bank twice. Outputs are filled up to a
// multiple of 16 and inputs to a multiple of 64 with zeros.
inline constexpr int kWeightTileRows = 16;
inline constexpr int kWeightTileDepth = 64;
inline constexpr int kWeightTileElements = kWeightTileRows * kWeightTileDepth;

SIEVE_HOST_DEVICE constexpr int64_t WeightTilesAcross(int64_t inputs) {
  return (inputs + kWeightTileDepth - 1) / kWeightTileDepth;
}

// Elements of a matrix, filling included.
SIEVE_HOST_DEVICE constexpr int64_t TiledElements(int64_t outputs, int64_t inputs) {
  return (outputs + kWeightTileRows - 1) / kWeightTileRows * WeightTilesAcross(inputs) *
         kWeightTileElements;
}

// Where the element [output, input] is, in elements.
SIEVE_HOST_DEVICE constexpr int64_t TiledOffset(int64_t output, int64_t input, int64_t inputs) {
  // In 32 bits, which is fast enough for kernels that ask for every 16 bytes; 2^32 tiles are
  // plenty.
  const uint32_t row = static_cast<uint32_t>(output), column = static_cast<uint32_t>(input);
  const uint32_t tile = row / kWeightTileRows * static_cast<uint32_t>(WeightTilesAcross(inputs)) +
                        column / kWeightTileDepth;
  const uint32_t inside =
      row % kWeightTileRows * kWeightTileDepth + ((column / 8 ^ row) & 7) * 8 + column % 8;
  return static_cast<int64_t>(tile) * kWeightTileElements + inside;
}

// Gate and up projections are one matrix in which eight rows of the gate alternate with the eight
// of up that belong to them: whoever holds an accumulator of one holds that of the other too.
SIEVE_HOST_DEVICE constexpr int64_t GateRow(int64_t i) { return i / 8 * 16 + i % 8; }
SIEVE_HOST_DEVICE constexpr int64_t UpRow(int64_t i) { return GateRow(i) + 8; }

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_WEIGHT_TILES_H_
