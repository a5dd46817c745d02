#include "model/host_step_runner.h"

#include <new>
#include <utility>

#include "model/sampling/counter_random.h"
#include "model/sampling/logprobs.h"

namespace sieve {

// Memory that runs out is an error of this draw, not of its neighbours.
DrawnToken DrawOnHost(const Draw& draw, absl::Span<const float> logits, Sampler* sampler) try {
  const absl::StatusOr<int32_t> token =
      sampler->Draw(logits, *draw.params, draw.history, draw.banned,
                    UniformAt(draw.params->seed, draw.sample, draw.position));
  if (!token.ok()) return {.status = token.status()};
  DrawnToken drawn{.token = *token};
  if (draw.logprobs) drawn.logprobs = LogprobsOf(logits, *token, *draw.logprobs);
  return drawn;
} catch (const std::bad_alloc&) {
  return {.status = absl::ResourceExhaustedError("there is no memory to draw the next token")};
}

absl::Status HostStepRunner::Submit(const ModelStep& step) {
  const int64_t vocabulary = model_->vocabulary_size();
  const int64_t size = step.batch.logit_rows.size() * vocabulary;
  if (logits_.size() < size) logits_.resize(size);
  if (!step.copies.empty()) model_->CopyPages(step.copies);
  const absl::Status status = model_->Forward(step.batch, absl::MakeSpan(logits_).subspan(0, size));
  if (!status.ok()) return status;
  drawn_.clear();
  const absl::Span<const float> logits = logits_;
  for (const Draw& draw : step.draws) {
    drawn_.push_back(
        DrawOnHost(draw, logits.subspan(draw.logit_row * vocabulary, vocabulary), &sampler_));
  }
  in_flight_ = true;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<DrawnToken>> HostStepRunner::Collect() {
  in_flight_ = false;
  return std::exchange(drawn_, {});
}

}  // namespace sieve
