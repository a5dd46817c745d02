#ifndef SIEVE_MODEL_HOST_STEP_RUNNER_H_
#define SIEVE_MODEL_HOST_STEP_RUNNER_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/language_model.h"
#include "model/sampling/sampler.h"
#include "model/step_runner.h"

namespace sieve {

// The draw from its row of logits [vocabulary].
DrawnToken DrawOnHost(const Draw& draw, absl::Span<const float> logits, Sampler* sampler);

// Runs each step within Submit: the model's Forward, then the draws on the host. One step at a
// time.
class HostStepRunner : public StepRunner {
 public:
  explicit HostStepRunner(LanguageModel* model) : model_(model) {}

  bool CanSubmit() const override { return !in_flight_; }
  int in_flight() const override { return in_flight_; }
  bool DrawsAhead(const Draw&) const override { return true; }
  absl::Status Submit(const ModelStep& step) override;
  absl::StatusOr<std::vector<DrawnToken>> Collect() override;

 private:
  LanguageModel* const model_;
  Sampler sampler_;
  std::vector<float> logits_;  // grown to the largest step so far
  bool in_flight_ = false;
  std::vector<DrawnToken> drawn_;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_HOST_STEP_RUNNER_H_
