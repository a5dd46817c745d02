#include "model/cuda/weights.h"

#include <cuda_runtime_api.h>

#include <utility>

#include "model/cuda/cuda_status.h"
#include "model/cuda/weight_uploader.h"

namespace sieve {
namespace {

// Bytes of the page-locked buffer through which weights travel.
constexpr int64_t kStagingBytes = 64 << 20;

void Place(const ModelConfig& config, const LlamaWeights& weights, WeightUploader* up,
           CudaWeights* out) {
  out->embedding = up->Matrix({weights.embedding});
  out->head = config.tied_embeddings ? out->embedding : up->Matrix({weights.head});
  out->final_norm = up->Vector({weights.final_norm});
  out->layers.clear();
  for (const LayerWeights& w : weights.layers) {
    out->layers.push_back(
        {.attention_norm = up->Vector({w.attention_norm}),
         .qkv = up->Matrix({w.q, w.k, w.v}, {w.q_bias, w.k_bias, w.v_bias}),
         .o = up->Matrix({w.o}, {w.o_bias}),
         .mlp_norm = up->Vector({w.mlp_norm}),
         .gate_up = up->Matrix({w.gate, w.up}, {w.gate_bias, w.up_bias}, RowOrder::kGateUp),
         .down = up->Matrix({w.down}, {w.down_bias})});
  }
}

}  // namespace

absl::StatusOr<CudaWeights> CudaWeights::Upload(const ModelConfig& config,
                                                const LlamaWeights& weights, DType dtype) {
  CudaWeights out;
  WeightUploader count(nullptr, dtype, nullptr);
  Place(config, weights, &count, &out);
  absl::StatusOr<CudaMemory> memory = CudaMemory::Device(count.bytes(), "the weights");
  if (!memory.ok()) return memory.status();
  absl::StatusOr<CudaMemory> staging =
      CudaMemory::PinnedHost(kStagingBytes, "copying the weights to the device");
  if (!staging.ok()) return staging.status();
  out.memory_ = *std::move(memory);
  WeightUploader fill(out.memory_.data(), dtype, &*staging);
  Place(config, weights, &fill, &out);
  SIEVE_RETURN_IF_CUDA(fill.error(), "copying the weights to the device");
  return out;
}

}  // namespace sieve
