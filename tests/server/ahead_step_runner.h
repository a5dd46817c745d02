#ifndef SIEVE_TESTS_SERVER_AHEAD_STEP_RUNNER_H_
#define SIEVE_TESTS_SERVER_AHEAD_STEP_RUNNER_H_

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "model/host_step_runner.h"
#include "model/language_model.h"
#include "model/step_runner.h"

namespace sieve {

// What a device does, in one thread: takes two steps at a time, the second with what the first
// draws as input, and tells of results and of failures only when they are collected. A step that
// fails with ABORTED breaks it for good.
class AheadStepRunner : public StepRunner {
 public:
  explicit AheadStepRunner(LanguageModel* model) : runner_(model) {}

  bool CanSubmit() const override { return in_flight_.size() < 2; }
  int in_flight() const override { return static_cast<int>(in_flight_.size()); }
  bool DrawsAhead(const Draw& draw) const override { return draw.history == nullptr; }
  absl::Status Broken() const override { return broken_; }

  absl::Status Submit(const ModelStep& step) override {
    EXPECT_TRUE(CanSubmit());
    for (const Draw& draw : step.draws) EXPECT_TRUE(in_flight_.empty() || DrawsAhead(draw));
    if (!broken_.ok()) return broken_;
    std::vector<int32_t> tokens = Known(step.batch.tokens);
    last_drawn_.assign(step.draws.size(), 0);
    ModelStep known = step;
    known.batch.tokens = tokens;
    in_flight_.push_back(Run(known));
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<DrawnToken>> Collect() override {
    EXPECT_FALSE(in_flight_.empty());
    auto result = std::move(in_flight_.front());
    in_flight_.pop_front();
    if (absl::IsAborted(result.status())) broken_ = result.status();
    return result;
  }

 private:
  std::vector<int32_t> Known(absl::Span<const int32_t> tokens) const {
    std::vector<int32_t> known(tokens.begin(), tokens.end());
    for (int32_t& token : known) {
      if (!IsPending(token)) continue;
      EXPECT_EQ(in_flight_.size(), 1) << "a token of a step that was collected";
      token = last_drawn_.at(PendingToken(token));
    }
    return known;
  }

  absl::StatusOr<std::vector<DrawnToken>> Run(const ModelStep& step) {
    if (absl::Status status = runner_.Submit(step); !status.ok()) return status;
    absl::StatusOr<std::vector<DrawnToken>> drawn = runner_.Collect();
    for (size_t i = 0; i < drawn->size(); ++i) last_drawn_[i] = (*drawn)[i].token;
    return drawn;
  }

  HostStepRunner runner_;
  std::vector<int32_t> last_drawn_;
  std::deque<absl::StatusOr<std::vector<DrawnToken>>> in_flight_;
  absl::Status broken_;
};

}  // namespace sieve

#endif  // SIEVE_TESTS_SERVER_AHEAD_STEP_RUNNER_H_
