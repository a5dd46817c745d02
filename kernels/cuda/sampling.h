#ifndef SIEVE_KERNELS_CUDA_SAMPLING_H_
#define SIEVE_KERNELS_CUDA_SAMPLING_H_

#include <cuda_runtime_api.h>

#include <cstdint>

namespace sieve::cuda {

// How a row's token is drawn: the fields of sieve::SamplingParams, with the same meaning and
// ranges.
struct SamplingRow {
  float temperature = 1;  // 0: greedy
  int32_t top_k = 0;      // 0: off
  float top_p = 1;        // 1: off
  float min_p = 0;        // 0: off
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  // -1: no logprobs; else the drawn token's, and those of as many most probable ones, which may not
  // exceed kMaxTopLogprobs.
  int32_t num_logprobs = -1;
  uint64_t seed = 0;     // the draw is that of UniformAt(seed, sample, position)
  int64_t position = 0;  // of the token among those that the sample generates
  int32_t sample = 0;
  // This row's part of SampleParams::adjustments.
  int32_t adjustments_begin = 0;
  int32_t adjustments_end = 0;
};

inline constexpr int32_t kMaxTopLogprobs = 1024;

// What a token's logit is changed by before a draw: first the bias (-infinity: never drawn), then
// the row's penalties.
struct TokenAdjustment {
  int32_t token = 0;   // in range; no token twice in one row
  int32_t count = -1;  // times generated; 0: in the prompt only; -1: no penalties
  float bias = 0;
};

enum class SampleError : int32_t {
  kNone = 0,
  kNotFinite = 1,    // a logit is NaN or infinite
  kNoTokenLeft = 2,  // all are banned
};

// Device pointers throughout. A row's results depend on nothing but the row, and its token is that
// of the CPU's sieve::Sampler.
struct SampleParams {
  // [num_rows, vocabulary], row i at i * logits_stride (floats). Rows with adjustments are changed
  // while the kernel runs and restored at its end. Fastest when rows are aligned to 16 bytes.
  float* logits = nullptr;
  int64_t logits_stride = 0;
  int64_t vocabulary = 0;
  int64_t num_rows = 0;
  const SamplingRow* rows = nullptr;             // [num_rows]
  const TokenAdjustment* adjustments = nullptr;  // may be null when no row has any
  void* workspace = nullptr;                     // SampleWorkspaceBytes

  int32_t* tokens = nullptr;      // [num_rows]; in range even where there is an error
  SampleError* errors = nullptr;  // [num_rows]
  // Natural logarithms of softmax(logits) before any change. May be null when no row asks.
  float* logprobs = nullptr;      // [num_rows], of the drawn tokens
  int32_t* top_tokens = nullptr;  // [num_rows, top_stride], best first, ties by id; past the
  float* top_logprobs = nullptr;  // vocabulary's end: token -1
  int64_t top_stride = 0;         // at least the largest num_logprobs
};

// `adjustments`: the most that the rows of one call have together.
int64_t SampleWorkspaceBytes(int64_t adjustments);

// One launch, whose shape depends on num_rows alone: a graph of it may be replayed with other
// contents of all arrays.
cudaError_t Sample(const SampleParams& params, cudaStream_t stream);

}  // namespace sieve::cuda

#endif  // SIEVE_KERNELS_CUDA_SAMPLING_H_
