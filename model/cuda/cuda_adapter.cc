#include "model/cuda/cuda_adapter.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <utility>

#include "kernels/tensor_view.h"
#include "model/attention/adapter_check.h"
#include "model/attention/summary_layout.h"
#include "model/cuda/cuda_status.h"
#include "model/cuda/weight_uploader.h"

namespace sieve {
namespace {

// Bytes of the page-locked buffer through which matrices travel.
constexpr int64_t kStagingBytes = 16 << 20;

int64_t RoundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

struct Size {
  int64_t rows = 0, cols = 0;
  bool operator==(const Size&) const = default;
};

// A matrix, with zeros in rows and columns that are added.
std::vector<float> Padded(const float* in, Size from, Size to) {
  std::vector<float> out(to.rows * to.cols);
  for (int64_t i = 0; i < from.rows; ++i) {
    std::copy_n(in + i * from.cols, from.cols, out.begin() + i * to.cols);
  }
  return out;
}

// [count, rows, cols] -> [count, cols, rows].
std::vector<float> Transposed(const std::vector<float>& in, int64_t rows, int64_t cols) {
  std::vector<float> out(in.size());
  for (int64_t i = 0; i < static_cast<int64_t>(in.size()); ++i) {
    const int64_t matrix = i / (rows * cols), row = i / cols % rows, col = i % cols;
    out[(matrix * cols + col) * rows + row] = in[i];
  }
  return out;
}

// Copies of tensors are made only where `up` fills memory: to count, their sizes do.
class Placer {
 public:
  Placer(const AdapterConfig& c, int64_t inner, WeightUploader* up)
      : c_(c), inner_(inner), up_(up) {}

  CudaAdapterLayer Layer(const AdapterLayer& w) {
    const int64_t d = c_.head_dim, cols = c_.num_heads / c_.num_kv_heads * d;
    return {.index_q = up_->Floats(w.index_q),
            .index_k = up_->Floats(w.index_k),
            .gate_q = TransposedFloats(w.gate_q, d, cols),
            .gate_k = TransposedFloats(w.gate_k, d, 3 * d),
            .tilt = up_->Floats(w.tilt),
            .query_shift = up_->Floats(w.query_shift),
            .bias = up_->Floats(w.bias),
            .key_position = up_->Floats(w.key_position),
            .value_position = up_->Floats(w.value_position),
            .keys = Mlp(w.key_up, w.key_down),
            .values = Mlp(w.value_up, w.value_down),
            .combine = Combine(w)};
  }

 private:
  const float* TransposedFloats(const std::vector<float>& in, int64_t rows, int64_t cols) {
    if (!up_->fills()) return up_->Floats(in);  // as many
    return up_->Floats(Transposed(in, rows, cols));
  }

  // Number `i` of the matrices in `values`.
  CudaMatrix Matrix(const std::vector<float>& values, int64_t i, Size from, Size to) {
    const float* data = values.data() + i * from.rows * from.cols;
    std::vector<float> padded;
    if (up_->fills() && from != to) {
      padded = Padded(data, from, to);
      data = padded.data();
    }
    return up_->Matrix({TensorView{data, DType::kF32, to.rows, to.cols}});
  }

  CudaEntryMlp Mlp(const std::vector<float>& up, const std::vector<float>& down) {
    CudaEntryMlp mlp;
    if (up.empty()) return mlp;
    const int64_t d = c_.head_dim, inputs = c_.compression_block * d, inner = c_.inner_size();
    const int64_t matrices = c_.shared_compression ? 1 : c_.num_kv_heads;
    for (int64_t h = 0; h < matrices; ++h) {
      mlp.up.push_back(Matrix(up, h, {inner, inputs}, {inner_, inputs}));
      mlp.down.push_back(Matrix(down, h, {d, inner}, {d, inner_}));
    }
    mlp.up.resize(c_.num_kv_heads, mlp.up.back());
    mlp.down.resize(c_.num_kv_heads, mlp.down.back());
    return mlp;
  }

  CudaMatrix Combine(const AdapterLayer& w) {
    if (w.combine_weight.empty()) return {};
    const int64_t rows = c_.combined_parts() * c_.num_heads, padded = RoundUp(rows, 16);
    CudaMatrix matrix =
        Matrix(w.combine_weight, 0, {rows, c_.hidden_size}, {padded, c_.hidden_size});
    std::vector<float> bias = w.combine_bias;
    bias.resize(padded);
    matrix.bias = up_->Floats(bias);
    return matrix;
  }

  const AdapterConfig& c_;
  const int64_t inner_;
  WeightUploader* const up_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CudaAdapter>> CudaAdapter::Upload(
    const ModelConfig& model, const CacheGeometry& cache,
    const std::shared_ptr<const Adapter>& adapter) {
  if (absl::Status status = CheckAdapter(model, cache, *adapter); !status.ok()) return status;
  const AdapterConfig& config = adapter->config;
  if (config.selector == Selector::kOracle) {
    return absl::InvalidArgumentError(
        "on CUDA, the oracle selector, which is for studies, is not computed");
  }
  std::unique_ptr<CudaAdapter> out(new CudaAdapter(config, SummaryLayoutOf(config, cache.dtype)));
  out->inner_ = RoundUp(config.inner_size(), 8);
  const auto place = [&](WeightUploader* up) {
    Placer placer(config, out->inner_, up);
    out->layers_.clear();
    for (const AdapterLayer& layer : adapter->layers) out->layers_.push_back(placer.Layer(layer));
  };
  WeightUploader count(nullptr, cache.dtype, nullptr);
  place(&count);
  absl::StatusOr<CudaMemory> memory = CudaMemory::Device(count.bytes(), "an adapter");
  if (!memory.ok()) return memory.status();
  absl::StatusOr<CudaMemory> staging =
      CudaMemory::PinnedHost(kStagingBytes, "copying an adapter to the device");
  if (!staging.ok()) return staging.status();
  out->memory_ = *std::move(memory);
  WeightUploader fill(out->memory_.data(), cache.dtype, &*staging);
  place(&fill);
  SIEVE_RETURN_IF_CUDA(fill.error(), "copying an adapter to the device");
  // A copy from memory that is not page-locked may still be on its way when it returns, and steps
  // run on a stream that does not wait for it.
  SIEVE_RETURN_IF_CUDA(cudaStreamSynchronize(cudaStreamLegacy), "copying an adapter to the device");
  return out;
}

}  // namespace sieve
