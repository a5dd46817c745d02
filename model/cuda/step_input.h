#ifndef SIEVE_MODEL_CUDA_STEP_INPUT_H_
#define SIEVE_MODEL_CUDA_STEP_INPUT_H_

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/cuda/attention_params.h"
#include "model/cuda/memory.h"
#include "model/language_model.h"

namespace sieve {

// What the kernels read of a batch, in device memory: arrays one behind the other, each as long as
// the step needs. Where those before `extra` are depends on the shape alone, so that a captured
// graph of a step can be replayed with other contents.
struct StepArrays {
  int32_t* tokens = nullptr;             // [tokens]
  int32_t* positions = nullptr;          // [tokens]
  int32_t* sequences = nullptr;          // [tokens]: where in block_tables the pages begin
  int32_t* logit_rows = nullptr;         // [logit_rows]
  cuda::AttentionTile* tiles = nullptr;  // prefill's, then decoding's; sequence: as in `sequences`
  // Of each row of logits, unless the step only decodes: its position, and a tile of it alone,
  // whose first_token is the row of logits.
  int32_t* row_positions = nullptr;
  cuda::AttentionTile* row_tiles = nullptr;
  int32_t* block_tables = nullptr;  // the sequences' pages, one list behind the other
  char* plan = nullptr;             // Upload's
  char* extra = nullptr;            // Upload's
};

// The numbers that a launch depends on.
struct StepShape {
  int64_t tokens = 0;
  int64_t prefill_tiles = 0;
  int64_t decode_tiles = 0;
  int64_t max_splits = 0;  // of decoding
  int64_t logit_rows = 0;
  int64_t row_splits = 0;  // of the rows of logits, as max_splits
  // The rows of logits are so few that the last layer attends for less by row_tiles than by tiles.
  bool few_rows = false;
  bool only_decodes = false;  // one token a sequence, and the logits of each, in order
};

struct StepLimits {
  int64_t max_tokens = 0;
  int64_t max_sequences = 0;
  int64_t max_pages = 0;  // of a sequence
};

struct UploadedStep {
  StepArrays arrays;
  StepShape shape;
};

// Lays batches out in page-locked memory and copies each to the device in one piece.
class StepInput {
 public:
  // So many bytes beside a batch at most.
  struct Beside {
    int64_t plan = 0, extra = 0;
  };
  static absl::StatusOr<StepInput> Create(const StepLimits& limits, int64_t tile_tokens,
                                          const Beside& most);

  // Copies in `stream`, with what else the step's kernels read: the plan of its adapters and
  // `extra`. A batch that only decodes is filled up to `bucket` tokens (0: as it is) with a token
  // that lives in page `spare_page`. The copy before the last must be over. INVALID_ARGUMENT when
  // the batch is beyond the limits.
  absl::StatusOr<UploadedStep> Upload(const Batch& batch, int64_t bucket, int32_t spare_page,
                                      absl::Span<const char> plan, absl::Span<const char> extra,
                                      cudaStream_t stream);

  // Of the block tables, which are found by `sequences`.
  static constexpr int64_t kTableStride = 1;
  int64_t device_bytes() const { return device_memory_.bytes(); }

 private:
  struct Sizes {
    int64_t tokens = 0, logit_rows = 0, tiles = 0, row_tiles = 0, pages = 0;
    Beside beside{};
  };
  static StepArrays Carve(const Sizes& sizes, char* base, int64_t* bytes);
  absl::StatusOr<Sizes> SizesOf(const Batch& batch, int64_t bucket, const Beside& beside) const;
  void AddSequences(const Batch& batch, const StepArrays& host) const;
  void AddTiles(const Batch& batch, const StepArrays& host, StepShape* shape) const;
  static void AddRows(const Batch& batch, const StepArrays& host, StepShape* shape);
  static void Fill(int64_t bucket, int32_t spare_page, int64_t spare_place, const StepArrays& host,
                   StepShape* shape);

  StepLimits limits_;
  int64_t tile_tokens_ = 0;
  Beside most_;
  std::array<CudaMemory, 2> host_memory_;  // in turn: one may still be being copied
  int next_ = 0;
  CudaMemory device_memory_;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CUDA_STEP_INPUT_H_
