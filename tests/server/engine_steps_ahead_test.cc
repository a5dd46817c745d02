// The engine one step ahead of a device: what ends while a step is in flight, what cannot be known
// ahead, and that tokens are those of an engine that waits for each step. The other suites of the
// engine run ahead too, as their *_ahead_test.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "server/engine.h"
#include "tests/server/event_collector.h"
#include "tests/server/fake_language_model.h"
#include "tests/server/fake_tokenizer.h"

namespace sieve {
namespace {

using ::testing::HasSubstr;

GenerationRequest Request(int64_t length, int32_t max_tokens, int32_t first = 0) {
  GenerationRequest request;
  for (int64_t i = 0; i < length; ++i) request.prompt.push_back((first + i * 7) % 200);
  request.max_tokens = max_tokens;
  request.ignore_eos = true;
  request.sampling.seed = 17 + first;
  return request;
}

class EngineStepsAheadTest : public testing::Test {
 protected:
  EngineStepsAheadTest() { config_.context_length = 4096; }
  ~EngineStepsAheadTest() override {
    engine_.reset();
    if (model_ != nullptr) ExpectNothingLeft();
  }

  void Start(int64_t num_pages, bool ahead = true) {
    engine_.reset();
    model_ = std::make_unique<FakeLanguageModel>(tokenizer_.vocabulary_size(), num_pages);
    if (ahead) model_->RunAhead();
    engine_ = Engine::Create(config_, model_.get(), &tokenizer_, nullptr);
  }

  void ExpectNothingLeft() const {
    EXPECT_EQ(model_->error(), "");
    if (model_->step_runner() != nullptr) {
      EXPECT_EQ(model_->step_runner()->in_flight(), 0);
    }
  }
  void ExpectAllPagesBack() const {
    EXPECT_EQ(engine_->stats().active_pages, 0);
    EXPECT_EQ(engine_->stats().running_sequences, 0);
  }

  std::unique_ptr<EventCollector> Submit(const GenerationRequest& request) {
    auto reader = std::make_unique<EventCollector>(10000);
    const absl::Status status = engine_->Submit(request, reader->queue());
    EXPECT_TRUE(status.ok()) << status;
    return reader;
  }
  std::unique_ptr<EventCollector> Run(const GenerationRequest& request) {
    auto reader = Submit(request);
    const absl::Status status = reader->ReadAll();
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(reader->error, "");
    return reader;
  }

  // All at once; the first step waits until they are there.
  std::vector<std::unique_ptr<EventCollector>> RunTogether(
      const std::vector<GenerationRequest>& requests) {
    std::latch submitted(1);
    model_->set_hook([&](const Batch&, absl::Span<float>) {
      submitted.wait();
      return absl::OkStatus();
    });
    std::vector<std::unique_ptr<EventCollector>> readers;
    for (const GenerationRequest& request : requests) readers.push_back(Submit(request));
    submitted.count_down();
    for (const auto& reader : readers) EXPECT_TRUE(reader->ReadAll().ok());
    model_->set_hook(nullptr);
    return readers;
  }

  // Makes `token` the most probable by far wherever it is drawn at `position`.
  void ForceAt(int64_t position, int32_t token) {
    model_->set_hook([=, vocabulary = tokenizer_.vocabulary_size()](const Batch& batch,
                                                                    absl::Span<float> logits) {
      for (size_t r = 0; r < batch.logit_rows.size(); ++r) {
        if (batch.positions[batch.logit_rows[r]] + 1 != position) continue;
        logits[r * vocabulary + token] = 50;
      }
      return absl::OkStatus();
    });
  }

  FakeTokenizer tokenizer_{{"STOP", "ST", "OP"}};
  EngineConfig config_;
  std::unique_ptr<FakeLanguageModel> model_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineStepsAheadTest, TokensAreThoseOfAnEngineThatWaits) {
  std::vector<GenerationRequest> requests;
  for (const int32_t tokens : {1, 2, 3, 64, 65, 100}) {
    for (const int32_t samples : {1, 3}) {
      requests.push_back(Request(60 + tokens, tokens, static_cast<int32_t>(requests.size())));
      requests.back().num_samples = samples;
      requests.back().stop_token_ids = {7, 8, 9};
      requests.back().logprobs = tokens % 2;
      if (tokens == 65) requests.back().sampling.repetition_penalty = 1.3f;
      if (tokens == 64) requests.back().min_tokens = 20;
    }
  }
  Start(200, /*ahead=*/false);
  const auto expected = RunTogether(requests);
  // With all the cache, and with so little that sequences are preempted.
  for (const int64_t pages : {200, 14}) {
    SCOPED_TRACE(pages);
    Start(pages);
    const auto got = RunTogether(requests);
    for (size_t i = 0; i < requests.size(); ++i) {
      SCOPED_TRACE(i);
      for (const auto& [sample, collected] : expected[i]->samples) {
        EXPECT_EQ(got[i]->samples[sample].tokens, collected.tokens);
        EXPECT_EQ(got[i]->samples[sample].text, collected.text);
        EXPECT_EQ(got[i]->samples[sample].logprobs.size(), collected.logprobs.size());
        EXPECT_EQ(got[i]->samples[sample].finished->reason, collected.finished->reason);
      }
    }
    EXPECT_EQ(engine_->stats().preemptions > 0, pages == 14);
    ExpectAllPagesBack();
  }
}

// The limit is known ahead: no step computes what nobody wants.
TEST_F(EngineStepsAheadTest, AtMaxTokensNoStepTooManyIsRun) {
  Start(20);
  for (const int32_t tokens : {1, 2, 30}) {
    const int64_t before = model_->steps();
    EXPECT_EQ(Run(Request(10, tokens))->samples[0].tokens.size(), tokens);
    EXPECT_EQ(model_->steps() - before, tokens);
    ExpectAllPagesBack();
  }
}

TEST_F(EngineStepsAheadTest, AStopIsNoticedOneStepLate) {
  Start(20);
  GenerationRequest stops = Request(62, 50), goes_on = Request(30, 40, 3);
  stops.stop_token_ids = {'x'};
  stops.min_tokens = 4;
  ForceAt(66, 'x');  // behind a page border
  const auto alone = Run(goes_on);
  const int64_t before = model_->steps();
  auto reader = Submit(stops);
  EXPECT_TRUE(reader->ReadAll().ok());
  EXPECT_EQ(reader->samples[0].tokens.size(), 5);
  EXPECT_EQ(reader->samples[0].tokens.back(), 'x');
  EXPECT_EQ(reader->samples[0].finished->reason, FinishReason::kStopToken);
  EXPECT_EQ(reader->samples[0].finished->generated_tokens, 5);
  EXPECT_EQ(Run(goes_on)->samples[0].tokens, alone->samples[0].tokens);
  EXPECT_EQ(model_->steps() - before, 6 + 40);  // the sixth for nothing
  ExpectAllPagesBack();
}

// The sixth step, for nothing, cannot even be submitted: what the fifth finished stays finished.
TEST_F(EngineStepsAheadTest, AStepThatCannotBeSubmittedSparesWhatHasStopped) {
  std::atomic<int> submitted = 0;
  config_.fault_for_test = [&](FaultPoint point, Scheduler*) {
    if (point == FaultPoint::kLogits && ++submitted == 6) throw std::runtime_error("no room");
  };
  Start(20);
  GenerationRequest stops = Request(62, 50);
  stops.stop_token_ids = {'x'};
  stops.min_tokens = 4;
  ForceAt(66, 'x');
  auto reader = Submit(stops);
  EXPECT_TRUE(reader->ReadAll().ok());
  EXPECT_EQ(submitted, 6);
  EXPECT_EQ(reader->samples[0].tokens.size(), 5);
  EXPECT_EQ(reader->samples[0].finished->reason, FinishReason::kStopToken);
  ExpectAllPagesBack();
  engine_.reset();  // before `submitted`
}

// Its pages go to another request while a step in flight still writes to them.
TEST_F(EngineStepsAheadTest, PagesOfAStoppedSampleAreReusedAtOnce) {
  config_.max_running_sequences = 1;
  config_.prefix_reuse = false;
  Start(2);
  const GenerationRequest next = Request(75, 50, 5);
  GenerationRequest stops = Request(66, 60);
  stops.stop_token_ids = {'x'};
  stops.min_tokens = 4;
  ForceAt(70, 'x');
  const auto alone = Run(next);
  auto first = Submit(stops);
  auto second = Submit(next);
  EXPECT_TRUE(first->ReadAll().ok());
  EXPECT_TRUE(second->ReadAll().ok());
  EXPECT_EQ(first->samples[0].finished->reason, FinishReason::kStopToken);
  EXPECT_EQ(second->samples[0].tokens, alone->samples[0].tokens);
}

TEST_F(EngineStepsAheadTest, CancellingWithStepsInFlight) {
  Start(60);
  const GenerationRequest stays = Request(30, 200, 3);
  const auto alone = Run(stays);
  std::atomic<EventQueue*> to_cancel = nullptr;
  std::atomic<int> steps = 0;
  model_->set_hook([&](const Batch&, absl::Span<float>) {
    if (++steps == 20 && to_cancel != nullptr) to_cancel.load()->Cancel();
    return absl::OkStatus();
  });
  EventCollector cancelled(10000);
  to_cancel = cancelled.queue().get();
  ASSERT_TRUE(engine_->Submit(Request(100, 3000), cancelled.queue()).ok());
  EXPECT_EQ(Run(stays)->samples[0].tokens, alone->samples[0].tokens);
  EXPECT_EQ(cancelled.ReadAll().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(cancelled.error, "");
  ExpectAllPagesBack();
}

// The last steps of those that left are collected, or the next request would find no room for its
// own.
TEST_F(EngineStepsAheadTest, NothingIsLeftInFlightWhenTheEngineGoesIdle) {
  Start(60);
  GenerationRequest request = Request(10, 3000);
  request.stop_token_ids = {'x'};
  ForceAt(20, 'x');
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(Submit(request)->ReadAll().ok());
    if (i % 3 == 0) absl::SleepFor(absl::Milliseconds(1));
  }
  ExpectAllPagesBack();
}

// A penalty looks at tokens that are not known ahead; those beside it notice nothing.
TEST_F(EngineStepsAheadTest, PenaltiesAreDrawnInStepsOfTheirOwnTime) {
  GenerationRequest penalised = Request(50, 60), plain = Request(40, 80, 3);
  penalised.sampling.frequency_penalty = 0.5f;
  Start(20, /*ahead=*/false);
  const auto expected = RunTogether({penalised, plain});
  Start(20);
  const auto got = RunTogether({penalised, plain});
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(got[i]->samples[0].tokens, expected[i]->samples[0].tokens);
  }
}

TEST_F(EngineStepsAheadTest, AStepThatFailsInFlightEndsThoseInIt) {
  Start(40);
  const GenerationRequest request = Request(70, 30);
  const auto alone = Run(request);
  for (const int failing : {1, 2, 7, 30}) {
    SCOPED_TRACE(failing);
    std::atomic<int> steps = 0;
    model_->set_hook([&](const Batch&, absl::Span<float>) {
      return ++steps == failing ? absl::DataLossError("a bit flipped") : absl::OkStatus();
    });
    EXPECT_EQ(Submit(request)->ReadAll(), absl::DataLossError("a bit flipped"));
    ExpectAllPagesBack();
    model_->set_hook(nullptr);
    EXPECT_EQ(Run(request)->samples[0].tokens, alone->samples[0].tokens);
  }
}

// A request of higher priority takes the place of another, though a step is always in flight.
TEST_F(EngineStepsAheadTest, PreemptionWaitsForTheStepInFlight) {
  config_.max_running_sequences = 1;
  Start(60);
  const GenerationRequest low = Request(30, 1500);
  GenerationRequest high = Request(20, 5, 3);
  high.priority = 2;
  std::latch running(1);
  std::atomic<int> steps = 0;
  model_->set_hook([&](const Batch&, absl::Span<float>) {
    if (++steps == 10) running.count_down();
    if (steps > 10) absl::SleepFor(absl::Microseconds(50));
    return absl::OkStatus();
  });
  auto first = Submit(low);
  running.wait();
  auto second = Submit(high);
  EXPECT_TRUE(second->ReadAll().ok());
  EXPECT_LT(engine_->stats().generated_tokens, 1500);
  EXPECT_TRUE(first->ReadAll().ok());
  EXPECT_EQ(first->samples[0].finished->preemptions, 1);
  EXPECT_EQ(first->samples[0].tokens.size(), 1500);
}

// After a fault of the device nothing is served any more, and everybody is told.
TEST_F(EngineStepsAheadTest, ADeviceThatIsLostEndsAllAndIsReported) {
  std::atomic<int> reports = 0;
  config_.on_broken = [&](const absl::Status& status) {
    EXPECT_EQ(status, absl::AbortedError("an illegal address"));
    ++reports;
  };
  config_.max_running_sequences = 1;
  Start(20);
  std::latch submitted(1);
  std::atomic<int> steps = 0;
  model_->set_hook([&](const Batch&, absl::Span<float>) {
    submitted.wait();
    return ++steps == 5 ? absl::AbortedError("an illegal address") : absl::OkStatus();
  });
  auto running = Submit(Request(10, 100));
  auto waiting = Submit(Request(10, 100, 3));
  submitted.count_down();
  EXPECT_EQ(running->ReadAll(), absl::AbortedError("an illegal address"));
  const absl::Status status = waiting->ReadAll();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("an illegal address"));
  EventCollector late;
  EXPECT_EQ(engine_->Submit(Request(10, 100), late.queue()).code(), absl::StatusCode::kUnavailable);
  engine_.reset();
  EXPECT_EQ(reports, 1);
}

}  // namespace
}  // namespace sieve
