#ifndef SIEVE_MODEL_STEP_RUNNER_H_
#define SIEVE_MODEL_STEP_RUNNER_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/language_model.h"
#include "model/sampling/logprobs.h"
#include "model/sampling/sampler.h"
#include "model/sampling/sampling_params.h"

namespace sieve {

// One token to draw from a step's logits. Pointers and views are read by Submit alone.
struct Draw {
  int32_t logit_row = 0;  // of the batch's logit_rows; several may draw from one
  const SamplingParams* params = nullptr;
  const TokenHistory* history = nullptr;  // null: no penalty is set
  absl::Span<const int32_t> banned;       // tokens that are not drawn
  // With the seed, all that the random number depends on.
  int32_t sample = 0;
  int64_t position = 0;             // tokens that the sample has drawn before
  std::optional<int32_t> logprobs;  // alternatives that are wanted, if any
};

struct DrawnToken {
  absl::Status status{};  // of this draw alone: Sampler::Draw's
  int32_t token = 0;
  PositionLogprobs logprobs{};  // when they are wanted
};

struct ModelStep {
  absl::Span<const PageCopy> copies;  // made first, in order
  Batch batch;                        // tokens may be PendingToken of the step submitted before
  absl::Span<const Draw> draws;
};

// Runs a model's steps, each with the draws at its end, in the order in which they are submitted.
// So a page may be handed on as soon as the last step that uses it was submitted, and a step may
// take as input what the one before it draws. Not thread-safe.
class StepRunner {
 public:
  virtual ~StepRunner() = default;

  // Whether another step may be submitted before the next Collect.
  virtual bool CanSubmit() const = 0;

  // Whether a step with this draw may be submitted while another is in flight.
  virtual bool DrawsAhead(const Draw& draw) const = 0;

  virtual int in_flight() const = 0;  // steps that were submitted and not collected

  // Starts a step; reads all of it before it returns. When it fails, there is nothing to collect.
  // REQUIRES: CanSubmit().
  virtual absl::Status Submit(const ModelStep& step) = 0;

  // Waits for the oldest step in flight: what it drew, in the order of its draws, or why it failed.
  // REQUIRES: one is in flight.
  virtual absl::StatusOr<std::vector<DrawnToken>> Collect() = 0;

  // Why no step will ever succeed again, as after a fault of the device; or OK.
  virtual absl::Status Broken() const { return absl::OkStatus(); }
};

}  // namespace sieve

#endif  // SIEVE_MODEL_STEP_RUNNER_H_
