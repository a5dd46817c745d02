#ifndef SIEVE_MODEL_ATTENTION_VARIANT_H_
#define SIEVE_MODEL_ATTENTION_VARIANT_H_

#include <cstdint>

#include "absl/types/span.h"
#include "kernels/block_summary.h"
#include "kernels/paged_attention_params.h"
#include "kernels/thread_pool.h"
#include "model/language_model.h"

namespace sieve {

// What one layer's attention works on.
struct AttentionArgs {
  const Batch* batch = nullptr;
  absl::Span<const int32_t> sequences{};  // those of the batch to attend to
  int64_t layer = 0;
  PagedKvView kv{};                // this step's keys and values are in it
  SummaryView summaries{};         // of the blocks that are complete, once Append was called
  const float* hidden = nullptr;   // [tokens, hidden_size], normalised: what q, k, v were made of
  int64_t hidden_stride = 0;       // floats from token to token
  const float* q = nullptr;        // [tokens, num_heads, head_dim], RoPE applied
  int64_t q_stride = 0;            // floats from token to token
  const float* cosines = nullptr;  // [tokens, head_dim / 2]: of RoPE
  const float* sines = nullptr;    // [tokens, head_dim / 2]
  float* out = nullptr;            // [tokens, num_heads, head_dim]
  int64_t out_stride = 0;          // floats
};

// Scratch of each worker of the thread pool.
struct WorkerScratch {
  float* base = nullptr;  // 64-byte aligned
  int64_t stride = 0;     // floats from worker to worker

  float* of(int worker) const { return base + worker * stride; }
};

// A way to attend. Borrows its weights; immutable.
class AttentionVariant {
 public:
  virtual ~AttentionVariant() = default;
  // Floats of scratch that each worker needs for a step.
  virtual int64_t ScratchFloats(const Batch& batch) const = 0;
  // Writes the summaries of the blocks that this step completed, from the cache alone. REQUIRES:
  // this step's keys and values are in the cache.
  virtual void Append(const AttentionArgs& args, WorkerScratch scratch, ThreadPool* pool) const {}
  // Writes out, of the tokens of args.sequences. REQUIRES: Append was called.
  virtual void Forward(const AttentionArgs& args, WorkerScratch scratch,
                       ThreadPool* pool) const = 0;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_ATTENTION_VARIANT_H_
