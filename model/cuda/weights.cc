#include "model/cuda/weights.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "kernels/dequantize.h"
#include "kernels/float16.h"
#include "model/cuda/cuda_status.h"

namespace sieve {
namespace {

// Bytes of the page-locked buffer through which weights travel.
constexpr int64_t kStagingBytes = 64 << 20;

// The places of all tensors, and the copies that fill them. Planned twice: to count, and with
// memory.
class Uploader {
 public:
  Uploader(char* base, DType dtype, CudaMemory* staging)
      : carver_(base), dtype_(dtype), staging_(staging) {}

  // Matrices with the same number of columns, one below the other, and their biases.
  CudaMatrix Matrix(std::initializer_list<TensorView> parts,
                    std::initializer_list<TensorView> biases = {TensorView()}) {
    CudaMatrix matrix = {.inputs = parts.begin()->cols};
    for (const TensorView& part : parts) matrix.outputs += part.rows;
    const int64_t row_bytes = RowBytes(dtype_, matrix.inputs);
    char* to = carver_.Take<char>(matrix.outputs * row_bytes);
    matrix.data = to;
    for (const TensorView& part : parts) {
      Copy(part, dtype_, to);
      if (to != nullptr) to += part.rows * row_bytes;
    }
    matrix.bias = Vector(biases);
    return matrix;
  }

  // Vectors one after the other, as floats; null when the first is absent.
  const float* Vector(std::initializer_list<TensorView> parts) {
    if (!*parts.begin()) return nullptr;
    int64_t size = 0;
    for (const TensorView& part : parts) size += part.cols;
    float* const at = carver_.Take<float>(size);
    float* to = at;
    for (const TensorView& part : parts) {
      Copy(part, DType::kF32, reinterpret_cast<char*>(to));
      if (to != nullptr) to += part.cols;
    }
    return at;
  }

  int64_t bytes() const { return carver_.bytes(); }
  cudaError_t error() const { return error_; }

 private:
  void Copy(const TensorView& from, DType dtype, char* to) {
    if (to == nullptr || error_ != cudaSuccess) return;
    const int64_t row_bytes = RowBytes(dtype, from.cols);
    const int64_t rows_a_time = std::max<int64_t>(1, staging_->bytes() / row_bytes);
    for (int64_t row = 0; row < from.rows && error_ == cudaSuccess; row += rows_a_time) {
      const int64_t rows = std::min(rows_a_time, from.rows - row);
      Convert(from, row, rows, dtype);
      error_ = cudaMemcpy(to + row * row_bytes, staging_->data(), rows * row_bytes,
                          cudaMemcpyHostToDevice);
    }
  }

  void Convert(const TensorView& from, int64_t first, int64_t rows, DType dtype) {
    const int64_t row_bytes = RowBytes(dtype, from.cols);
    if (from.dtype == dtype) {
      std::memcpy(staging_->data(), from.row(first), rows * row_bytes);
      return;
    }
    row_.resize(from.cols);
    for (int64_t r = 0; r < rows; ++r) {
      DequantizeRow(from.dtype, from.row(first + r), from.cols, row_.data());
      char* const to = staging_->data() + r * row_bytes;
      if (dtype == DType::kF32) {
        std::memcpy(to, row_.data(), row_bytes);
        continue;
      }
      uint16_t* const out = reinterpret_cast<uint16_t*>(to);
      for (int64_t i = 0; i < from.cols; ++i) {
        out[i] = dtype == DType::kF16 ? FloatToHalf(row_[i]) : FloatToBFloat16(row_[i]);
      }
    }
  }

  Carver carver_;
  const DType dtype_;
  CudaMemory* const staging_;
  std::vector<float> row_;
  cudaError_t error_ = cudaSuccess;
};

void Place(const ModelConfig& config, const LlamaWeights& weights, Uploader* up, CudaWeights* out) {
  out->embedding = up->Matrix({weights.embedding});
  out->head = config.tied_embeddings ? out->embedding : up->Matrix({weights.head});
  out->final_norm = up->Vector({weights.final_norm});
  out->layers.clear();
  for (const LayerWeights& w : weights.layers) {
    out->layers.push_back({.attention_norm = up->Vector({w.attention_norm}),
                           .qkv = up->Matrix({w.q, w.k, w.v}, {w.q_bias, w.k_bias, w.v_bias}),
                           .o = up->Matrix({w.o}, {w.o_bias}),
                           .mlp_norm = up->Vector({w.mlp_norm}),
                           .gate_up = up->Matrix({w.gate, w.up}, {w.gate_bias, w.up_bias}),
                           .down = up->Matrix({w.down}, {w.down_bias})});
  }
}

}  // namespace

absl::StatusOr<CudaWeights> CudaWeights::Upload(const ModelConfig& config,
                                                const LlamaWeights& weights, DType dtype) {
  CudaWeights out;
  Uploader count(nullptr, dtype, nullptr);
  Place(config, weights, &count, &out);
  absl::StatusOr<CudaMemory> memory = CudaMemory::Device(count.bytes(), "the weights");
  if (!memory.ok()) return memory.status();
  absl::StatusOr<CudaMemory> staging =
      CudaMemory::PinnedHost(kStagingBytes, "copying the weights to the device");
  if (!staging.ok()) return staging.status();
  out.memory_ = *std::move(memory);
  Uploader fill(out.memory_.data(), dtype, &*staging);
  Place(config, weights, &fill, &out);
  SIEVE_RETURN_IF_CUDA(fill.error(), "copying the weights to the device");
  return out;
}

}  // namespace sieve
