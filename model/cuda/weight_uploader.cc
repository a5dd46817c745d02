#include "model/cuda/weight_uploader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cuda/weight_tiles.h"
#include "kernels/dequantize.h"
#include "kernels/float16.h"

namespace sieve {
namespace {

// Where row or element `i` comes from: which part, and which of its rows or elements.
std::pair<size_t, int64_t> SourceOf(int64_t i, absl::Span<const int64_t> part_sizes,
                                    RowOrder order) {
  if (order == RowOrder::kGateUp) {
    const int64_t at = i / 16 * 8 + i % 8;
    return i == cuda::GateRow(at) ? std::pair(0, at) : std::pair(1, at);
  }
  size_t part = 0;
  for (; i >= part_sizes[part]; ++part) i -= part_sizes[part];
  return {part, i};
}

// A row of 16-bit values, and the zeros that fill it up, go to their places in a row of tiles that
// begins at `tiles`.
void PlaceInTiles(const char* row, int64_t cols, int64_t row_in_tile, char* tiles) {
  constexpr int64_t kChunk = 16, kTileRow = cuda::kWeightTileDepth * 2;
  char* to = tiles + row_in_tile * kTileRow;
  for (int64_t left = cols * 2; left > 0; left -= kTileRow) {
    if (left < kTileRow) std::memset(to, 0, kTileRow);
    const int64_t chunks = std::min(left, kTileRow) / kChunk;
    for (int64_t c = 0; c < chunks; ++c) {
      std::memcpy(to + (c ^ row_in_tile % 8) * kChunk, row + c * kChunk, kChunk);
    }
    row += kTileRow;
    to += cuda::kWeightTileElements * 2;
  }
}

}  // namespace

CudaMatrix WeightUploader::Matrix(absl::Span<const TensorView> parts,
                                  absl::Span<const TensorView> biases, RowOrder order) {
  CudaMatrix matrix = {.inputs = parts[0].cols};
  for (const TensorView& part : parts) matrix.outputs += part.rows;
  // Rows travel in blocks: a row of tiles, or one row.
  const bool tiled = dtype_ != DType::kF32;
  const int64_t block_rows = tiled ? cuda::kWeightTileRows : 1;
  const int64_t block_bytes =
      tiled ? cuda::TiledElements(1, matrix.inputs) * 2 : RowBytes(dtype_, matrix.inputs);
  const int64_t blocks = (matrix.outputs + block_rows - 1) / block_rows;
  char* const to = carver_.Take<char>(blocks * block_bytes);
  matrix.data = to;
  if (to != nullptr) Copy(parts, order, matrix.outputs, block_rows, block_bytes, to);
  matrix.bias = Vector(biases, order);
  return matrix;
}

const float* WeightUploader::Vector(absl::Span<const TensorView> parts, RowOrder order) {
  if (parts.empty() || !parts[0]) return nullptr;
  std::vector<std::vector<float>> values;
  std::vector<int64_t> sizes;
  int64_t size = 0;
  for (const TensorView& part : parts) {
    values.emplace_back(part.cols);
    DequantizeRow(part.dtype, part.data, part.cols, values.back().data());
    sizes.push_back(part.cols);
    size += part.cols;
  }
  float* const to = carver_.Take<float>(size);
  if (to == nullptr || error_ != cudaSuccess) return to;
  std::vector<float> ordered(size);
  for (int64_t i = 0; i < size; ++i) {
    const auto [part, element] = SourceOf(i, sizes, order);
    ordered[i] = values[part][element];
  }
  error_ = cudaMemcpy(to, ordered.data(), size * sizeof(float), cudaMemcpyHostToDevice);
  return to;
}

const float* WeightUploader::Floats(absl::Span<const float> values) {
  if (values.empty()) return nullptr;
  const int64_t size = static_cast<int64_t>(values.size());
  float* const to = carver_.Take<float>(size);
  if (to == nullptr || error_ != cudaSuccess) return to;
  error_ = cudaMemcpy(to, values.data(), size * sizeof(float), cudaMemcpyHostToDevice);
  return to;
}

void WeightUploader::Copy(absl::Span<const TensorView> parts, RowOrder order, int64_t rows,
                          int64_t block_rows, int64_t block_bytes, char* to) {
  std::vector<int64_t> sizes;
  for (const TensorView& part : parts) sizes.push_back(part.rows);
  const int64_t blocks_a_time = std::max<int64_t>(1, staging_->bytes() / block_bytes);
  for (int64_t first = 0; first < rows && error_ == cudaSuccess;
       first += blocks_a_time * block_rows) {
    const int64_t end = std::min(rows, first + blocks_a_time * block_rows);
    const int64_t blocks = (end - first + block_rows - 1) / block_rows;
    if (end % block_rows != 0) {  // the last block is filled up with zeros
      std::memset(staging_->data() + (blocks - 1) * block_bytes, 0, block_bytes);
    }
    for (int64_t row = first; row < end; ++row) {
      const auto [part, source] = SourceOf(row, sizes, order);
      char* const block = staging_->data() + (row - first) / block_rows * block_bytes;
      Convert(parts[part], source, row % block_rows, block);
    }
    error_ = cudaMemcpy(to + first / block_rows * block_bytes, staging_->data(),
                        blocks * block_bytes, cudaMemcpyHostToDevice);
  }
}

// One row, to its place in a block.
void WeightUploader::Convert(const TensorView& from, int64_t row, int64_t row_in_block,
                             char* block) {
  if (from.dtype != dtype_) {
    floats_.resize(from.cols);
    DequantizeRow(from.dtype, from.row(row), from.cols, floats_.data());
  }
  if (dtype_ == DType::kF32) {
    std::memcpy(block, from.dtype == dtype_ ? from.row(row) : floats_.data(), from.cols * 4);
    return;
  }
  if (from.dtype == dtype_) {
    PlaceInTiles(static_cast<const char*>(from.row(row)), from.cols, row_in_block, block);
    return;
  }
  halves_.resize(from.cols);
  for (int64_t i = 0; i < from.cols; ++i) {
    halves_[i] = dtype_ == DType::kF16 ? FloatToHalf(floats_[i]) : FloatToBFloat16(floats_[i]);
  }
  PlaceInTiles(reinterpret_cast<const char*>(halves_.data()), from.cols, row_in_block, block);
}

}  // namespace sieve
