// Deadlines, stalled readers and timings of the engine, by a clock that only moves when told.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "server/engine.h"
#include "server/refusal.h"
#include "tests/server/event_collector.h"
#include "tests/server/fake_language_model.h"
#include "tests/server/fake_tokenizer.h"

namespace sieve {
namespace {

class FakeClock {
 public:
  absl::Time Now() const { return absl::UnixEpoch() + absl::Seconds(seconds_.load()); }
  void Advance(int64_t seconds) { seconds_ += seconds; }

 private:
  std::atomic<int64_t> seconds_ = 1000;
};

class RecordingObserver : public EngineObserver {
 public:
  void OnStep(const StepRecord& step) override {
    steps.push_back({absl::ToInt64Seconds(step.forward), step.prefill_tokens, step.decode_tokens});
  }
  void OnFirstToken(absl::Duration time) override { first_tokens.push_back(time); }
  void OnInterToken(absl::Duration gap) override { gaps.push_back(gap); }
  void OnEnd(const RequestRecord& record) override {
    ends.push_back({record.status.code(), record.end_to_end});
    records.push_back({record.request.id, record.phase, record.prompt_tokens,
                       record.cached_prompt_tokens, record.generated_tokens, record.queue,
                       record.prefill, record.decode, record.time_to_first_token,
                       record.peak_cache_bytes, record.page_seconds});
  }

  // A RequestRecord's own fields.
  struct Record {
    std::string id;
    RequestPhase phase;
    int32_t prompt_tokens, cached_prompt_tokens;
    int64_t generated_tokens;
    absl::Duration queue, prefill, decode;
    std::optional<absl::Duration> time_to_first_token;
    int64_t peak_cache_bytes;
    double page_seconds;
  };

  std::vector<std::vector<int64_t>> steps;
  std::vector<absl::Duration> first_tokens, gaps;
  std::vector<std::pair<absl::StatusCode, absl::Duration>> ends;
  std::vector<Record> records;
};

class EngineTimeTest : public testing::Test {
 protected:
  void Start() {
    config_.context_length = 4096;
    config_.clock = [this] { return clock_.Now(); };
    engine_ = Engine::Create(config_, &model_, &tokenizer_, &observer_);
  }

  // Every step takes a second.
  void StepsTakeASecond() {
    model_.set_hook([this](const Batch&, absl::Span<float>) {
      clock_.Advance(1);
      return absl::OkStatus();
    });
  }

  GenerationRequest Request(int64_t prompt, int32_t max_tokens) {
    GenerationRequest request;
    request.prompt.assign(prompt, 5);
    request.max_tokens = max_tokens;
    request.ignore_eos = true;
    request.arrival = clock_.Now();
    return request;
  }

  FakeClock clock_;
  FakeTokenizer tokenizer_;
  FakeLanguageModel model_{257, 16};
  RecordingObserver observer_;
  EngineConfig config_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineTimeTest, TimingsAndWhatTheObserverHears) {
  config_.max_step_tokens = 100;
  Start();
  StepsTakeASecond();
  GenerationRequest request = Request(150, 4);
  request.arrival = clock_.Now() - absl::Seconds(3);
  EventCollector reader;
  ASSERT_TRUE(engine_->Submit(request, reader.queue()).ok());
  ASSERT_TRUE(reader.ReadAll().ok());
  const FinishedEvent& finished = *reader.samples[0].finished;
  EXPECT_EQ(finished.queue, absl::Seconds(3));
  EXPECT_EQ(finished.prefill, absl::Seconds(2));
  EXPECT_EQ(finished.time_to_first_token, absl::Seconds(5));
  EXPECT_EQ(finished.decode, absl::Seconds(3));
  engine_.reset();
  using Step = std::vector<int64_t>;
  EXPECT_THAT(observer_.steps, testing::ElementsAre(Step{1, 100, 0}, Step{1, 50, 0}, Step{1, 0, 1},
                                                    Step{1, 0, 1}, Step{1, 0, 1}));
  EXPECT_THAT(observer_.first_tokens, testing::ElementsAre(absl::Seconds(5)));
  EXPECT_THAT(observer_.gaps, testing::Each(absl::Seconds(1)));
  EXPECT_EQ(observer_.gaps.size(), 3);
  EXPECT_THAT(observer_.ends,
              testing::ElementsAre(std::pair(absl::StatusCode::kOk, absl::Seconds(8))));
}

TEST_F(EngineTimeTest, RecordsTellHowFarARequestCameAndWhatItHeld) {
  config_.max_step_tokens = 100;
  config_.max_running_sequences = 1;
  config_.page_bytes = 1000;
  Start();
  StepsTakeASecond();
  const auto request = [&](std::string id, int64_t seconds) {
    GenerationRequest r = Request(150, 100);
    r.id = std::move(id);
    r.deadline = clock_.Now() + absl::Seconds(seconds);
    return r;
  };
  // One after the other: the deadlines come in the queue, while the prompt is computed, after three
  // tokens.
  EventCollector decode(1000), queue(1000), prefill(1000);
  std::latch first_step(1), go_on(1);
  model_.set_hook([&](const Batch&, absl::Span<float>) {
    if (!first_step.try_wait()) {
      first_step.count_down();
      go_on.wait();
    }
    clock_.Advance(1);
    return absl::OkStatus();
  });
  ASSERT_TRUE(engine_->Submit(request("decode", 4), decode.queue()).ok());
  first_step.wait();
  ASSERT_TRUE(engine_->Submit(request("queue", 2), queue.queue()).ok());
  go_on.count_down();
  EXPECT_EQ(decode.ReadAll().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(queue.ReadAll().code(), absl::StatusCode::kDeadlineExceeded);
  GenerationRequest other = request("prefill", 1);
  std::fill(other.prompt.begin(), other.prompt.end(), 6);  // not in the cache
  ASSERT_TRUE(engine_->Submit(other, prefill.queue()).ok());
  EXPECT_EQ(prefill.ReadAll().code(), absl::StatusCode::kDeadlineExceeded);
  engine_.reset();
  ASSERT_EQ(observer_.records.size(), 3);

  const auto& in_queue = observer_.records[0];
  EXPECT_EQ(in_queue.id, "queue");
  EXPECT_EQ(in_queue.phase, RequestPhase::kQueue);
  EXPECT_EQ(in_queue.prompt_tokens, 150);
  EXPECT_EQ(in_queue.queue, absl::Seconds(2));
  EXPECT_EQ(in_queue.prefill, absl::ZeroDuration());
  EXPECT_FALSE(in_queue.time_to_first_token);
  EXPECT_EQ(in_queue.peak_cache_bytes, 0);
  EXPECT_EQ(in_queue.page_seconds, 0);

  const auto& in_decode = observer_.records[1];
  EXPECT_EQ(in_decode.id, "decode");
  EXPECT_EQ(in_decode.phase, RequestPhase::kDecode);
  EXPECT_EQ(in_decode.generated_tokens, 3);
  EXPECT_EQ(in_decode.prefill, absl::Seconds(2));
  EXPECT_EQ(in_decode.decode, absl::Seconds(2));
  EXPECT_EQ(*in_decode.time_to_first_token, absl::Seconds(2));
  EXPECT_EQ(in_decode.peak_cache_bytes, 3000);
  EXPECT_DOUBLE_EQ(in_decode.page_seconds, 3 * 4);

  const auto& in_prefill = observer_.records[2];
  EXPECT_EQ(in_prefill.phase, RequestPhase::kPrefill);
  EXPECT_EQ(in_prefill.generated_tokens, 0);
  EXPECT_EQ(in_prefill.cached_prompt_tokens, 0);
  EXPECT_EQ(in_prefill.prefill, absl::Seconds(1));
  EXPECT_EQ(in_prefill.decode, absl::ZeroDuration());
  EXPECT_FALSE(in_prefill.time_to_first_token);
  EXPECT_DOUBLE_EQ(in_prefill.page_seconds, 3);
}

TEST_F(EngineTimeTest, SharedPagesAreCountedOnceBetweenThoseThatShareThem) {
  config_.page_bytes = 1000;
  Start();
  StepsTakeASecond();
  EventCollector first(1000), second(1000);
  ASSERT_TRUE(engine_->Submit(Request(128, 1), first.queue()).ok());
  ASSERT_TRUE(first.ReadAll().ok());
  EXPECT_EQ(first.samples[0].finished->peak_cache_bytes, 2000);
  EXPECT_DOUBLE_EQ(first.samples[0].finished->page_seconds, 2);
  // Samples share the prompt's pages; the request holds them once.
  GenerationRequest samples = Request(128, 3);
  samples.num_samples = 4;
  ASSERT_TRUE(engine_->Submit(samples, second.queue()).ok());
  ASSERT_TRUE(second.ReadAll().ok());
  EXPECT_EQ(second.samples[3].finished->peak_cache_bytes, 6000);
  EXPECT_DOUBLE_EQ(second.samples[3].finished->page_seconds, 2 + 6 + 6);
  EXPECT_EQ(engine_->stats().prefix_queries, 2);
  EXPECT_EQ(engine_->stats().prefix_hits, 1);
}

TEST_F(EngineTimeTest, NoStepStartsAfterTheDeadline) {
  Start();
  StepsTakeASecond();
  GenerationRequest request = Request(10, 100);
  request.deadline = clock_.Now() + absl::Seconds(6);
  EventCollector reader(1000);
  ASSERT_TRUE(engine_->Submit(request, reader.queue()).ok());
  EXPECT_EQ(reader.ReadAll().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(reader.samples[0].tokens.size(), 6);
  EXPECT_EQ(model_.steps(), 6);
  EXPECT_EQ(engine_->stats().active_pages, 0);
}

// As gRPC does on the client's side, before the server's own clock has come that far: it tells the
// server of the time allowed rounded up.
TEST_F(EngineTimeTest, CancellingAtTheDeadlineCountsAsExpiry) {
  for (const auto& [used, code] : {std::pair(100, absl::StatusCode::kDeadlineExceeded),
                                   std::pair(99, absl::StatusCode::kDeadlineExceeded),
                                   std::pair(98, absl::StatusCode::kCancelled)}) {
    SCOPED_TRACE(used);
    Start();
    GenerationRequest request = Request(10, 100);
    request.arrival = clock_.Now();
    request.deadline = request.arrival + absl::Seconds(100);
    EventCollector reader(1000);
    model_.set_hook([&, seconds = used](const Batch&, absl::Span<float>) {
      clock_.Advance(seconds);
      reader.queue()->Cancel();
      return absl::OkStatus();
    });
    ASSERT_TRUE(engine_->Submit(request, reader.queue()).ok());
    EXPECT_EQ(reader.ReadAll().code(), code);
    engine_.reset();
    EXPECT_THAT(observer_.ends, testing::ElementsAre(std::pair(code, absl::Seconds(used))));
    observer_.ends.clear();
  }
}

TEST_F(EngineTimeTest, ARequestThatComesTooLateIsAnsweredAtOnce) {
  Start();
  GenerationRequest request = Request(10, 100);
  request.deadline = clock_.Now();
  EventCollector reader;
  const absl::Status status = engine_->Submit(request, reader.queue());
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(ReasonOf(status), RefusalReason::kLate);
  EXPECT_FALSE(reader.TakeOne());
  EXPECT_EQ(engine_->stats().waiting_requests, 0);
  EXPECT_EQ(model_.steps(), 0);
}

TEST_F(EngineTimeTest, AReaderThatVanishedIsEndedAndHoldsNobodyUp) {
  config_.max_running_sequences = 1;
  config_.stalled_reader_timeout = absl::Seconds(30);
  Start();
  EventCollector vanished(3);
  ASSERT_TRUE(engine_->Submit(Request(10, 100), vanished.queue()).ok());
  EventCollector reader;
  ASSERT_TRUE(engine_->Submit(Request(10, 20), reader.queue()).ok());
  ASSERT_TRUE(reader.ReadAll([this] { engine_->Notify(); }).ok());

  const absl::Time start = clock_.Now();
  while (engine_->stats().running_sequences + engine_->stats().waiting_requests > 0) {
    clock_.Advance(1);
    engine_->Notify();
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_GE(clock_.Now() - start, absl::Seconds(30));
  const absl::Status status = vanished.ReadAll();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_NE(status.message().find("took nothing"), std::string::npos) << status;
  EXPECT_EQ(vanished.samples[0].tokens.size(), 2);  // accepted and two deltas fill the queue
  EXPECT_EQ(engine_->stats().active_pages, 0);
}

TEST_F(EngineTimeTest, ASlowReaderIsNotAStalledOne) {
  config_.stalled_reader_timeout = absl::Seconds(30);
  Start();
  EventCollector reader(1);
  ASSERT_TRUE(engine_->Submit(Request(10, 5), reader.queue()).ok());
  while (!reader.end) {
    // Each event waits for 20 seconds.
    for (int i = 0; i < 20; ++i) {
      clock_.Advance(1);
      engine_->Notify();
    }
    while (!reader.TakeOne(clock_.Now())) absl::SleepFor(absl::Milliseconds(1));
    engine_->Notify();
  }
  EXPECT_TRUE(reader.end->ok());
  EXPECT_EQ(reader.samples[0].tokens.size(), 5);
}

}  // namespace
}  // namespace sieve
