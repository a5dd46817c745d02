#ifndef SIEVE_MODEL_CUDA_SPARSE_PASS_H_
#define SIEVE_MODEL_CUDA_SPARSE_PASS_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/block_summary.h"
#include "kernels/cuda/attention_params.h"
#include "model/cuda/adapter_plan.h"
#include "model/cuda/cuda_adapter.h"

namespace sieve {

// What one layer's sparse attention works on. Device pointers.
struct SparseLayer {
  cuda::PagedAttentionParams attention{};  // but its tiles; this step's keys and values are there
  SummaryView summaries{};
  const void* hidden = nullptr;        // [tokens, hidden_size], normalised, of the model's type
  int64_t tokens = 0;                  // of the step
  const float* cosines = nullptr;      // [tokens, head_dim / 2]
  const float* sines = nullptr;        // [tokens, head_dim / 2]
  const float* frequencies = nullptr;  // [head_dim / 2], of RoPE
  bool rope_interleaved = false;
  float* gammas = nullptr;  // [tokens, GammaCols()]
  char* scratch = nullptr;
  int64_t scratch_bytes = 0;
};

// Floats of a token's gammas, for any adapter.
int64_t GammaCols(int64_t num_heads);

// Bytes of scratch for contexts of `max_blocks` blocks: several waves' worth, and for common
// adapters enough. RESOURCE_EXHAUSTED from CheckScratch, saying how much is needed, for one that it
// does not do for.
int64_t SparseScratchFor(const ModelConfig& model, int64_t max_tokens, int64_t max_blocks);
absl::Status CheckScratch(const CudaAdapter& adapter, DType dtype, int64_t max_blocks,
                          int64_t scratch_bytes);

// Launches a group's kernels in a layer that its adapter does not leave dense: the summaries of the
// blocks that the step completes, and the attention of the tokens that have a rest. `plan_at` is
// plan.bytes() in device memory.
cudaError_t AttendSparsely(const CudaAdapter& adapter, int64_t layer_number,
                           const AdapterGroup& group, const AdapterPlan& plan, const char* plan_at,
                           const SparseLayer& layer, cudaStream_t stream);

}  // namespace sieve

#endif  // SIEVE_MODEL_CUDA_SPARSE_PASS_H_
