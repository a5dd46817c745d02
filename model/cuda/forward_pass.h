#ifndef SIEVE_MODEL_CUDA_FORWARD_PASS_H_
#define SIEVE_MODEL_CUDA_FORWARD_PASS_H_

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/cuda/attention_params.h"
#include "kernels/cuda/decode_step.h"
#include "kernels/cuda/matmul_params.h"
#include "kernels/cuda/paged_kv.h"
#include "kernels/dtype.h"
#include "model/config.h"
#include "model/cuda/adapter_plan.h"
#include "model/cuda/cuda_adapter.h"
#include "model/cuda/memory.h"
#include "model/cuda/sparse_pass.h"
#include "model/cuda/step_input.h"
#include "model/cuda/weights.h"

namespace sieve {

// The paged cache in device memory: for each layer the keys and values of all pages; then for each
// layer the summaries of all pages.
struct CudaCache {
  char* base = nullptr;
  int64_t page_bytes = 0;   // keys and values of one layer
  int64_t layer_bytes = 0;  // of all pages
  char* summaries = nullptr;
  int64_t summary_page_bytes = 0;
  int64_t summary_layer_bytes = 0;
};

// The adapters of a step, where it has any.
struct AdapterStep {
  const AdapterPlan* plan = nullptr;
  const char* plan_at = nullptr;                         // its bytes in device memory
  absl::Span<const std::unique_ptr<CudaAdapter>> slots;  // those that the plan names are there
};

// Launches a step's kernels. Owns the activations; borrows the rest.
class ForwardPass {
 public:
  // `scratch_bytes` for sparse attention; 0: steps have no adapters.
  static absl::StatusOr<ForwardPass> Create(const ModelConfig& config, const CudaWeights* weights,
                                            DType dtype, const StepLimits& limits,
                                            int64_t scratch_bytes);
  // Before the first Launch.
  void UseCache(const CudaCache& cache) { cache_ = cache; }

  // Writes logits() [shape.logit_rows, vocabulary]. Allocates nothing and waits for nothing.
  cudaError_t Launch(const StepArrays& arrays, const StepShape& shape, int64_t table_stride,
                     cudaStream_t stream) {
    return Launch(arrays, shape, table_stride, AdapterStep(), stream);
  }
  // REQUIRES: with adapters, neither shape.only_decodes nor shape.few_rows.
  cudaError_t Launch(const StepArrays& arrays, const StepShape& shape, int64_t table_stride,
                     const AdapterStep& adapters, cudaStream_t stream);

  // Whether a step that only decodes is launched in another way where max_splits is another.
  bool DependsOnSplits(const StepShape& shape) const {
    return !cuda::DecodeStepSupports(DecodeStepOf({}, shape, 0));
  }

  float* logits() const { return act_.logits; }
  int64_t max_splits() const { return max_splits_; }  // of a sequence
  int64_t workspace_bytes() const { return memory_.bytes(); }
  int64_t scratch_bytes() const { return scratch_bytes_; }  // of sparse attention

 private:
  // T tokens; element: of the model's type.
  struct Activations {
    float* hidden = nullptr;       // [T, hidden]
    float* row_hidden = nullptr;   // [max_logit_rows, hidden]
    void* normed = nullptr;        // [T, hidden], element
    float* qkv = nullptr;          // [T, (num_heads + 2 num_kv_heads) head_dim], or [T, hidden]
    void* q = nullptr;             // [T, num_heads, head_dim], element
    void* attention = nullptr;     // [T, num_heads, head_dim], element
    float* gate_up = nullptr;      // [T, 2 intermediate], where no kernel does without
    void* inner = nullptr;         // [T, intermediate], element
    float* cosines = nullptr;      // [T, head_dim / 2]
    float* sines = nullptr;        // [T, head_dim / 2]
    float* partials = nullptr;     // of decoding
    float* logits = nullptr;       // [max_logit_rows, vocabulary]
    float* frequencies = nullptr;  // [head_dim / 2]
    // Of a decoding step in one kernel.
    float* step_partials = nullptr;
    cuda::DecodeStepLayer* layers = nullptr;  // [num_layers]
    uint32_t* counters = nullptr;             // [2]
    // Of sparse attention.
    float* gammas = nullptr;  // [T, GammaCols]
    char* scratch = nullptr;  // [scratch_bytes_]
  };
  Activations Carve(const StepLimits& limits, char* base, int64_t* bytes) const;
  int64_t QkvCols() const {
    return (config_.num_heads + 2 * config_.num_kv_heads) * config_.head_dim;
  }
  cuda::PagedKv Layer(int64_t layer) const;
  cuda::DecodeStepParams DecodeStepOf(const StepArrays& arrays, const StepShape& shape,
                                      int64_t table_stride) const;
  absl::Status UploadConstants();
  // What the second half of a layer works on.
  struct Rows {
    float* residual = nullptr;        // [count, hidden]
    const void* attention = nullptr;  // [count, num_heads, head_dim], element
    int64_t count = 0;
  };
  // What the first half of a layer projects: of which tokens, and to which heads.
  struct Projection {
    const float* residual = nullptr;     // [count, hidden]
    const int32_t* positions = nullptr;  // [count], as act_.cosines and sines
    int64_t count = 0;
    bool queries = true, keys_and_values = true;
  };
  // Projections and rotation; keys and values into the cache.
  cudaError_t QkvBlock(const StepArrays& arrays, const Projection& projection, int64_t table_stride,
                       int64_t layer, cudaStream_t stream);
  cudaError_t Attend(const StepArrays& arrays, const StepShape& shape, int64_t table_stride,
                     const AdapterStep& adapters, int64_t layer, cudaStream_t stream);
  // The same in a layer that some adapter of the step does not leave dense: group by group.
  cudaError_t AttendInGroups(const StepArrays& arrays, const StepShape& shape, int64_t table_stride,
                             const AdapterStep& adapters, int64_t layer, cudaStream_t stream);
  SparseLayer SparseLayerOf(const cuda::PagedAttentionParams& attention, const StepShape& shape,
                            int64_t layer) const;
  // The last layer up to its attention, of which the rows whose logits are wanted, in their order,
  // are kept.
  cudaError_t LastAttention(const StepArrays& arrays, const StepShape& shape, int64_t table_stride,
                            const AdapterStep& adapters, Rows* rows, cudaStream_t stream);
  // The same where these rows are few: keys and values of all tokens, but no more.
  cudaError_t AttendRows(const StepArrays& arrays, const StepShape& shape, int64_t table_stride,
                         Rows* rows, cudaStream_t stream);
  cudaError_t Angles(const int32_t* positions, int64_t tokens, cudaStream_t stream);
  cuda::PagedAttentionParams AttentionOf(const StepArrays& arrays, int64_t table_stride,
                                         int64_t layer) const;
  cudaError_t MlpBlock(const Rows& rows, int64_t layer, cudaStream_t stream);
  cudaError_t Head(const Rows& rows, cudaStream_t stream);
  // y (+)= matrix x, for so many tokens.
  cudaError_t Product(const CudaMatrix& matrix, const void* x, int64_t tokens, float* y,
                      cudaStream_t stream, bool accumulate = false);
  cuda::MatMulParams ProductOf(const CudaMatrix& matrix, const void* x, int64_t tokens,
                               float* y) const;
  // Adds to the residual stream.
  cudaError_t AddProduct(const CudaMatrix& matrix, const void* x, const Rows& rows,
                         cudaStream_t stream);
  cudaError_t Norm(const float* weight, const float* residual, int64_t tokens, cudaStream_t stream);

  ModelConfig config_;
  const CudaWeights* weights_ = nullptr;
  CudaCache cache_;
  DType dtype_ = DType::kBF16;
  CudaMemory memory_;
  Activations act_;
  int64_t max_splits_ = 0;  // of a sequence
  int64_t scratch_bytes_ = 0;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CUDA_FORWARD_PASS_H_
