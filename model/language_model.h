#ifndef SIEVE_MODEL_LANGUAGE_MODEL_H_
#define SIEVE_MODEL_LANGUAGE_MODEL_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace sieve {

struct Adapter;
class StepRunner;

// Stands for a token that is not known to the host yet: what the step before drew with its draw
// `index`. Only a StepRunner takes it.
constexpr int32_t PendingToken(int32_t index) { return -1 - index; }
constexpr bool IsPending(int32_t token) { return token < 0; }

// One step over a ragged batch of sequences: T tokens of S sequences, some prefilling, some
// decoding.
struct Batch {
  absl::Span<const int32_t> tokens;     // [T]
  absl::Span<const int32_t> positions;  // [T], consecutive within a sequence
  absl::Span<const int32_t>
      offsets;  // [S + 1]: tokens of sequence s are offsets[s] .. offsets[s+1]-1
  // Pages of sequence s: block_tables[s * block_table_stride ...], in order of position, at least
  // as many as hold positions 0 .. last position of s.
  absl::Span<const int32_t> block_tables;
  int64_t block_table_stride = 0;
  absl::Span<const int32_t>
      logit_rows;  // [R]: indices into tokens whose next-token logits are wanted
  // [S]: the slot of each sequence's adapter, -1 for the bare base model; empty: all -1. The pages
  // of a sequence were written with its adapter.
  absl::Span<const int32_t> adapters{};
  // [S]: tokens of each sequence's prompt; empty: 0. Only adapters with a query_tile above 1 ask:
  // the whole tiles of the prompt share their choice of blocks, and each must lie in one step.
  absl::Span<const int32_t> prompt_tokens{};

  int32_t adapter(int64_t s) const { return adapters.empty() ? -1 : adapters[s]; }
  int32_t prompt(int64_t s) const { return prompt_tokens.empty() ? 0 : prompt_tokens[s]; }
};

struct PageCopy {
  int32_t from = 0;
  int32_t to = 0;
};

// Adapters of a model are in slots 0 .. kAdapterSlots-1.
inline constexpr int32_t kAdapterSlots = 256;

// What the engine needs of a model with its paged cache. Not thread-safe: one step at a time.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;
  virtual int64_t vocabulary_size() const = 0;
  virtual int64_t num_pages() const = 0;  // page ids are 0 .. num_pages-1
  // Copies whole pages (all layers), before the next Forward.
  virtual void CopyPages(absl::Span<const PageCopy> copies) = 0;
  // Writes this step's keys and values to the cache and the logits [R, vocabulary], float32.
  // The result for a sequence does not depend on what else is in the batch, nor on how its tokens
  // are cut into steps: it is the same to the last bit.
  virtual absl::Status Forward(const Batch& batch, absl::Span<float> logits) = 0;
  // Puts an adapter into a slot, in place of the one there, for the steps from now on; null empties
  // it. Between steps, and not while a step in flight uses the slot. INVALID_ARGUMENT when the slot
  // does not exist, or when the adapter is for another shape of model or of an option that this one
  // does not compute; RESOURCE_EXHAUSTED when its summaries of blocks do not fit in the cache's
  // pages.
  virtual absl::Status SetAdapter(int32_t slot, std::shared_ptr<const Adapter> adapter) {
    return absl::UnimplementedError("adapters are not supported by this model");
  }
  // What runs steps with draws on the model's own device, or null: a HostStepRunner then does. Not
  // to be mixed with Forward while a step is in flight.
  virtual StepRunner* step_runner() { return nullptr; }
};

}  // namespace sieve

#endif  // SIEVE_MODEL_LANGUAGE_MODEL_H_
