#ifndef SIEVE_MODEL_CUDA_STEP_INPUT_H_
#define SIEVE_MODEL_CUDA_STEP_INPUT_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "kernels/cuda/attention_params.h"
#include "model/cuda/memory.h"
#include "model/language_model.h"

namespace sieve {

// What the kernels read of a batch, in device memory at addresses that never change, so that a
// captured graph of a step can be replayed with other contents.
struct StepArrays {
  int32_t* tokens = nullptr;             // [max_tokens]
  int32_t* positions = nullptr;          // [max_tokens]
  int32_t* sequences = nullptr;          // [max_tokens]
  int32_t* logit_rows = nullptr;         // [max_tokens]
  cuda::AttentionTile* tiles = nullptr;  // [max_tokens]: prefill's, then decoding's
  int32_t* block_tables = nullptr;       // [max_sequences + 1, table_stride]
};

// The numbers that a launch depends on.
struct StepShape {
  int64_t tokens = 0;
  int64_t prefill_tiles = 0;
  int64_t decode_tiles = 0;
  int64_t max_splits = 0;  // of decoding
  int64_t logit_rows = 0;
  bool only_decodes = false;  // one token a sequence, and the logits of each, in order
};

struct StepLimits {
  int64_t max_tokens = 0;
  int64_t max_sequences = 0;
  int64_t max_pages = 0;  // of a sequence
};

// Lays a batch out in page-locked memory and copies it to the device.
class StepInput {
 public:
  static absl::StatusOr<StepInput> Create(const StepLimits& limits, int64_t tile_tokens);

  // Copies in `stream`. A batch that only decodes is filled up to `bucket` tokens (0: as it is)
  // with a token that lives in page `spare_page`. The previous copy must be over. INVALID_ARGUMENT
  // when it is beyond the limits.
  absl::StatusOr<StepShape> Upload(const Batch& batch, int64_t bucket, int32_t spare_page,
                                   cudaStream_t stream);

  const StepArrays& device() const { return device_; }
  int64_t table_stride() const { return limits_.max_pages; }
  int64_t device_bytes() const { return device_memory_.bytes(); }

 private:
  static StepArrays Carve(const StepLimits& limits, char* base, int64_t* bytes);
  void AddTiles(const Batch& batch, StepShape* shape);
  void Fill(int64_t bucket, int32_t spare_page, StepShape* shape);

  StepLimits limits_;
  int64_t tile_tokens_ = 0;
  CudaMemory host_memory_, device_memory_;
  StepArrays host_, device_;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CUDA_STEP_INPUT_H_
