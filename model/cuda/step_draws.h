#ifndef SIEVE_MODEL_CUDA_STEP_DRAWS_H_
#define SIEVE_MODEL_CUDA_STEP_DRAWS_H_

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/cuda/sampling.h"
#include "model/cuda/event.h"
#include "model/cuda/memory.h"
#include "model/step_runner.h"

namespace sieve {

// What the sampling kernel reads of a step's draws, as one block of bytes.
class DrawInput {
 public:
  // Adjustments that the draws of a step may have together: bias, bans, penalties.
  static constexpr int64_t kMaxAdjustments = 1 << 16;
  static int64_t MaxBytes(int64_t max_draws);

  // False when the kernel cannot make these draws.
  bool Build(absl::Span<const Draw> draws);

  // Of the last Build.
  absl::Span<const char> bytes() const { return bytes_; }
  const std::vector<cuda::SamplingRow>& rows() const { return rows_; }
  int64_t top_logprobs() const { return top_logprobs_; }  // the most that a draw wants
  int64_t adjustments_offset() const { return rows_.size() * sizeof(cuda::SamplingRow); }

 private:
  bool AddAdjustments(const Draw& draw);

  std::vector<char> bytes_;
  std::vector<cuda::SamplingRow> rows_;
  std::vector<cuda::TokenAdjustment> adjustments_;
  int64_t top_logprobs_ = 0;
};

// The draws of up to two steps: made on the device, where the tokens stay for the next step, and
// copied to page-locked memory.
class StepDraws {
 public:
  static absl::StatusOr<StepDraws> Create(int64_t max_draws, int64_t vocabulary);

  // Draws from logits [num_draws, vocabulary]; `input` is `draws`' bytes in device memory. At most
  // two may wait to be collected.
  absl::Status Launch(const DrawInput& draws, const char* input, float* logits,
                      cudaStream_t stream);
  // Instead, the tokens that the host drew, for the next step. `drawn` is read when it returns.
  absl::Status Upload(absl::Span<const DrawnToken> drawn, cudaStream_t stream);

  // Waits for the oldest Launch that was not collected.
  absl::StatusOr<std::vector<DrawnToken>> Collect();

  const int32_t* tokens() const;  // device: the last step's, by draw
  int64_t device_bytes() const { return device_.bytes() + workspace_.bytes(); }

 private:
  // Of `draws` draws, `tops` alternatives each; one block, whether on the device or the host.
  struct Results {
    int32_t* tokens = nullptr;
    cuda::SampleError* errors = nullptr;
    float* logprobs = nullptr;
    int32_t* top_tokens = nullptr;
    float* top_logprobs = nullptr;
  };
  struct Slot {
    CudaMemory host;
    CudaEvent done;
    int64_t num_draws = 0, tops = 0;
    std::vector<int32_t> wanted;  // alternatives of each draw; -1: no logprobs
  };
  static Results Carve(int64_t draws, int64_t tops, char* base, int64_t* bytes);
  StepDraws() = default;

  int64_t vocabulary_ = 0;
  CudaMemory device_, workspace_;
  std::array<Slot, 2> slots_;  // used in turn
  int next_ = 0, oldest_ = 0;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CUDA_STEP_DRAWS_H_
