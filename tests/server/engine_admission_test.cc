// Who is let in: limits, estimates, deadlines that cannot be met, draining.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/engine.h"
#include "server/refusal.h"
#include "tests/server/event_collector.h"
#include "tests/server/fake_language_model.h"
#include "tests/server/fake_tokenizer.h"

namespace sieve {
namespace {

constexpr int64_t kPageBytes = 1000;

class EngineAdmissionTest : public testing::Test {
 protected:
  EngineAdmissionTest() {
    config_.context_length = 4096;
    config_.page_bytes = kPageBytes;
    config_.clock = [this] { return absl::UnixEpoch() + absl::Seconds(seconds_.load()); };
  }
  ~EngineAdmissionTest() override {
    Release();
    engine_.reset();
    EXPECT_EQ(model_.error(), "");
  }

  void Start() { engine_ = Engine::Create(config_, &model_, &tokenizer_, nullptr); }

  // Starts with a request that stays in its first step until Release.
  void StartBusy() {
    Start();
    model_.set_hook([this](const Batch&, absl::Span<float>) {
      if (!in_step_.try_wait()) {
        in_step_.count_down();
        go_on_.wait();
      }
      return absl::OkStatus();
    });
    EXPECT_TRUE(engine_->Submit(Request(10, 3), busy_.queue()).ok());
    in_step_.wait();
  }
  void Release() {
    if (!go_on_.try_wait()) go_on_.count_down();
  }

  // Every step takes a second.
  void StepsTakeASecond() {
    model_.set_hook([this](const Batch&, absl::Span<float>) {
      ++seconds_;
      return absl::OkStatus();
    });
  }

  GenerationRequest Request(int64_t prompt, int32_t max_tokens, const std::string& tenant = "") {
    GenerationRequest request;
    for (int64_t i = 0; i < prompt; ++i) request.prompt.push_back((i * 7 + prompt % 199) % 200);
    request.max_tokens = max_tokens;
    request.ignore_eos = true;
    request.tenant = tenant;
    return request;
  }

  // Those that are admitted get a place in readers_.
  absl::Status Submit(GenerationRequest request) {
    auto reader = std::make_unique<EventCollector>(10000);
    absl::Status status = engine_->Submit(std::move(request), reader->queue());
    if (status.ok()) readers_.push_back(std::move(reader));
    return status;
  }

  absl::Status Run(const GenerationRequest& request) {
    const absl::Status status = Submit(request);
    return status.ok() ? readers_.back()->ReadAll() : status;
  }

  std::atomic<int64_t> seconds_ = 1000;
  std::latch in_step_{1}, go_on_{1};
  EventCollector busy_{100};
  std::vector<std::unique_ptr<EventCollector>> readers_;
  FakeTokenizer tokenizer_;
  FakeLanguageModel model_{tokenizer_.vocabulary_size(), 16};
  EngineConfig config_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineAdmissionTest, AFullQueueIsSharedBetweenTenants) {
  config_.max_queued_requests = 4;
  StartBusy();
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(Submit(Request(10, 3, "a")).ok());
  const absl::Status status = Submit(Request(10, 3, "a"));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), RefusalReason::kQueueFull);
  EXPECT_GE(RetryAfter(status), absl::Milliseconds(100));
  EXPECT_LE(RetryAfter(status), absl::Seconds(30));
  EXPECT_EQ(engine_->CheckAdmission("a", 1).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(engine_->CheckAdmission("b", 1).ok());
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(Submit(Request(10, 3, "b")).ok());
  EXPECT_FALSE(Submit(Request(10, 3, "b")).ok());
  EXPECT_EQ(engine_->stats().waiting_requests, 6);
  EXPECT_EQ(engine_->stats().waiting_prompt_tokens, 60);
  Release();
  for (const auto& reader : readers_) EXPECT_TRUE(reader->ReadAll().ok());
  EXPECT_EQ(engine_->stats().waiting_prompt_tokens, 0);
  EXPECT_TRUE(Run(Request(10, 3, "a")).ok());
}

TEST_F(EngineAdmissionTest, PromptTokensInTheQueueAreLimited) {
  config_.max_queued_prompt_tokens = 100;
  StartBusy();
  ASSERT_TRUE(Submit(Request(60, 3)).ok());
  const absl::Status status = Submit(Request(41, 3));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), RefusalReason::kQueuedTokens);
  EXPECT_TRUE(engine_->CheckAdmission("", 1).ok());
  EXPECT_TRUE(Submit(Request(40, 3)).ok());
  EXPECT_FALSE(engine_->CheckAdmission("", 1).ok());
}

TEST_F(EngineAdmissionTest, CancelledAndExpiredRequestsLeaveTheQueue) {
  StartBusy();
  ASSERT_TRUE(Submit(Request(60, 3)).ok());
  GenerationRequest hasty = Request(50, 3);
  hasty.deadline = config_.clock() + absl::Seconds(1);
  ASSERT_TRUE(Submit(hasty).ok());
  EXPECT_EQ(engine_->stats().waiting_prompt_tokens, 110);
  readers_[0]->queue()->Cancel();
  ++seconds_;
  Release();
  EXPECT_EQ(readers_[0]->ReadAll().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(readers_[1]->ReadAll().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(engine_->stats().waiting_prompt_tokens, 0);
}

TEST_F(EngineAdmissionTest, WhatIsTooLargeIsRefusedForGood) {
  config_.max_request_cache_bytes = 6 * kPageBytes;
  Start();
  // The prompt's two full pages are shared, each sample has two of its own.
  GenerationRequest fits = Request(130, 127);
  fits.num_samples = 2;
  EXPECT_EQ(engine_->EstimateCost(fits)->peak_cache_bytes, 6 * kPageBytes);
  EXPECT_TRUE(Run(fits).ok());
  GenerationRequest longer = fits;
  longer.max_tokens = 128;
  for (GenerationRequest* request : {&longer, &fits}) {
    fits.num_samples = 3;
    const absl::Status status = Run(*request);
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(ReasonOf(status), RefusalReason::kTooLarge);
    EXPECT_EQ(RetryAfter(status), absl::InfiniteDuration());
    EXPECT_EQ(engine_->EstimateCost(*request)->refusal, status);
  }
  config_.max_request_cache_bytes = 0;
  Start();
  const absl::Status status = Run(Request(17 * 64, 1));
  EXPECT_EQ(ReasonOf(status), RefusalReason::kTooLarge);
  EXPECT_TRUE(Run(Request(16 * 64, 1)).ok());
}

TEST_F(EngineAdmissionTest, AWeightIsAPositiveNumber) {
  Start();
  for (const double weight : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(),
                              std::numeric_limits<double>::infinity()}) {
    GenerationRequest request = Request(10, 3);
    request.tenant_weight = weight;
    EXPECT_EQ(Run(request).code(), absl::StatusCode::kInvalidArgument) << weight;
  }
}

TEST_F(EngineAdmissionTest, TheEstimateIsWhatHappens) {
  Start();
  EXPECT_FALSE(engine_->EstimateCost(Request(200, 5))->time_to_first_token);
  StepsTakeASecond();
  config_.max_step_tokens = 512;
  GenerationRequest request = Request(200, 70);
  CostEstimate estimate = *engine_->EstimateCost(request);
  EXPECT_TRUE(estimate.refusal.ok());
  EXPECT_EQ(estimate.cached_prompt_tokens, 0);
  EXPECT_EQ(estimate.prompt_cache_bytes, 4 * kPageBytes);
  EXPECT_EQ(estimate.peak_cache_bytes, 5 * kPageBytes);
  ASSERT_TRUE(Run(request).ok());
  EXPECT_EQ(readers_.back()->samples[0].finished->peak_cache_bytes, estimate.peak_cache_bytes);
  // Now the prompt is in the cache, and 200 tokens a second are measured.
  EXPECT_EQ(engine_->stats().prefill_rate, 200);
  estimate = *engine_->EstimateCost(request);
  EXPECT_EQ(estimate.cached_prompt_tokens, 192);
  EXPECT_EQ(*estimate.time_to_first_token, absl::Milliseconds(40));
  EXPECT_EQ(*engine_->EstimateCost(Request(400, 5))->time_to_first_token, absl::Seconds(2));
  EXPECT_EQ(engine_->stats().active_pages, 0);  // it took nothing
}

// What a request that is gone had still to compute holds nobody up.
TEST_F(EngineAdmissionTest, TheEstimateForgetsWhatEnded) {
  config_.max_step_tokens = 100;
  Start();
  StepsTakeASecond();
  GenerationRequest request = Request(900, 5);
  request.deadline = config_.clock() + absl::Seconds(2);
  EXPECT_EQ(Run(request).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(*engine_->EstimateCost(Request(300, 5))->time_to_first_token, absl::Seconds(3));
}

TEST_F(EngineAdmissionTest, ADeadlineThatCannotBeMetIsRefusedWhereAsked) {
  for (const bool refuse : {false, true}) {
    config_.refuse_late = refuse;
    Start();
    StepsTakeASecond();
    GenerationRequest request = Request(400, 1);
    request.deadline = config_.clock() + absl::Milliseconds(1500);
    ASSERT_TRUE(Run(Request(200, 1)).ok());  // measures 200 a second
    request.deadline = config_.clock() + absl::Milliseconds(1500);
    const absl::Status status = Submit(request);
    EXPECT_EQ(status.ok(), !refuse) << status;
    EXPECT_EQ(engine_->EstimateCost(request)->refusal.ok(), !refuse);
    if (!refuse) continue;
    EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_EQ(ReasonOf(status), RefusalReason::kLate);
    request.deadline = config_.clock() + absl::Seconds(2);
    EXPECT_TRUE(Run(request).ok());
  }
}

TEST_F(EngineAdmissionTest, DrainingLetsTheStartedFinishAndNobodyElse) {
  config_.max_running_sequences = 1;
  StartBusy();
  ASSERT_TRUE(Submit(Request(10, 3)).ok());
  engine_->Drain();
  engine_->Drain();
  const absl::Status refused = Submit(Request(10, 3));
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(refused), RefusalReason::kDraining);
  EXPECT_LT(RetryAfter(refused), absl::Minutes(1));
  EXPECT_EQ(engine_->CheckAdmission("x", 1).code(), absl::StatusCode::kUnavailable);
  Release();
  const absl::Status waiting = readers_[0]->ReadAll();
  EXPECT_EQ(waiting.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(waiting), RefusalReason::kDraining);
  EXPECT_FALSE(readers_[0]->accepted);
  EXPECT_TRUE(busy_.ReadAll().ok());
  EXPECT_EQ(busy_.samples[0].tokens.size(), 3);
  EXPECT_EQ(engine_->stats().active_pages, 0);
  EXPECT_EQ(engine_->stats().waiting_requests, 0);
  EXPECT_TRUE(engine_->EstimateCost(Request(10, 3)).ok());
  engine_->Stop();
  EXPECT_EQ(engine_->EstimateCost(Request(10, 3)).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace sieve
