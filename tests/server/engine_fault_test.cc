// Faults through seams that only tests have: the requests concerned fail with a code that says so,
// the others and the engine go on, and every page comes back.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <latch>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "server/engine.h"
#include "server/scheduler.h"
#include "tests/server/event_collector.h"
#include "tests/server/fake_language_model.h"
#include "tests/server/fake_tokenizer.h"

namespace sieve {
namespace {

using ::testing::HasSubstr;

// `first` tells prompts apart from their first token on.
GenerationRequest Request(int64_t length, int32_t max_tokens, int32_t first = 0) {
  GenerationRequest request;
  for (int64_t i = 0; i < length; ++i) request.prompt.push_back((first + i * 7) % 200);
  request.max_tokens = max_tokens;
  request.ignore_eos = true;
  request.sampling.seed = 17;
  return request;
}

class EngineFaultTest : public testing::Test {
 protected:
  EngineFaultTest() {
    config_.context_length = 4096;
    config_.fault_for_test = [this](FaultPoint point, Scheduler* scheduler) {
      std::function<void(FaultPoint, Scheduler*)> fault;
      {
        std::lock_guard lock(mutex_);
        fault = fault_;
      }
      if (fault) fault(point, scheduler);
      if (point == FaultPoint::kPlan) LookAtBooks(*scheduler);
    };
    engine_ = Engine::Create(config_, &model_, &tokenizer_, nullptr);
  }

  ~EngineFaultTest() override {
    engine_.reset();
    EXPECT_EQ(model_.error(), "");
    EXPECT_EQ(books_, "");
  }

  void set_fault(std::function<void(FaultPoint, Scheduler*)> fault) {
    std::lock_guard lock(mutex_);
    fault_ = std::move(fault);
  }

  // Throws at `point`, once.
  template <typename Exception>
  void ThrowAt(FaultPoint point, Exception exception) {
    set_fault([=, armed = std::make_shared<std::atomic<bool>>(true)](FaultPoint at, Scheduler*) {
      if (at == point && armed->exchange(false)) throw exception;
    });
  }

  absl::Status Run(const GenerationRequest& request) {
    EventCollector reader(1000);
    const absl::Status submitted = engine_->Submit(request, reader.queue());
    return submitted.ok() ? reader.ReadAll() : submitted;
  }

  // Everything is as before: the answer is the one that the request always gets, no page is
  // missing.
  void ExpectHealthy() {
    set_fault(nullptr);
    model_.set_hook(nullptr);
    EventCollector reader(1000);
    ASSERT_TRUE(engine_->Submit(Request(70, 10), reader.queue()).ok());
    ASSERT_TRUE(reader.ReadAll().ok());
    if (healthy_.empty()) healthy_ = reader.samples[0].tokens;
    EXPECT_EQ(reader.samples[0].tokens, healthy_);
    const EngineStats stats = engine_->stats();
    EXPECT_EQ(stats.active_pages, 0);
    EXPECT_EQ(stats.attributed_pages, 0);
    EXPECT_EQ(stats.free_pages + stats.cached_pages, stats.total_pages);
    EXPECT_EQ(stats.running_sequences, 0);
    EXPECT_EQ(stats.waiting_requests, 0);
    EXPECT_EQ(stats.waiting_prompt_tokens, 0);
  }

  // Runs a request of one sample (group 1 of a new engine) and one of two samples (group 2)
  // together; when all three decode, `corrupt` runs once, before the tables are checked.
  void Corrupt(std::function<void(Scheduler*)> corrupt, absl::Status* victim, absl::Status* other) {
    set_fault([corrupt, armed = std::make_shared<std::atomic<bool>>(true)](FaultPoint point,
                                                                           Scheduler* scheduler) {
      if (point != FaultPoint::kTables || scheduler->running_sequences() < 3) return;
      if (armed->exchange(false)) corrupt(scheduler);
    });
    std::latch submitted(1);
    model_.set_hook([&](const Batch&, absl::Span<float>) {
      submitted.wait();
      return absl::OkStatus();
    });
    EventCollector first(1000), second(1000);
    GenerationRequest samples = Request(100, 30, 3);
    samples.num_samples = 2;
    EXPECT_TRUE(engine_->Submit(Request(100, 30), first.queue()).ok());
    EXPECT_TRUE(engine_->Submit(samples, second.queue()).ok());
    submitted.count_down();
    *victim = first.ReadAll();
    *other = second.ReadAll();
    model_.set_hook(nullptr);
  }

  FakeTokenizer tokenizer_{{"STOP"}};
  FakeLanguageModel model_{tokenizer_.vocabulary_size(), 16};
  EngineConfig config_;
  std::unique_ptr<Engine> engine_;
  std::vector<int32_t> healthy_;

 private:
  void LookAtBooks(const Scheduler& scheduler) {
    const std::string wrong = scheduler.pool().CheckConsistency();
    if (books_.empty()) books_ = wrong;
  }

  std::mutex mutex_;
  std::function<void(FaultPoint, Scheduler*)> fault_;  // guarded by mutex_
  std::string books_;                                  // the engine's thread's
};

TEST_F(EngineFaultTest, MemoryThatRunsOutAnywhereInAStep) {
  ExpectHealthy();
  for (const FaultPoint point :
       {FaultPoint::kPlan, FaultPoint::kTables, FaultPoint::kLogits, FaultPoint::kSample}) {
    ThrowAt(point, std::bad_alloc());
    const absl::Status status = Run(Request(100, 10));
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << static_cast<int>(point);
    EXPECT_THAT(std::string(status.message()), HasSubstr("no memory"));
    ExpectHealthy();
  }
}

TEST_F(EngineFaultTest, OtherExceptionsAnywhereInAStep) {
  ExpectHealthy();
  for (const FaultPoint point :
       {FaultPoint::kPlan, FaultPoint::kTables, FaultPoint::kLogits, FaultPoint::kSample}) {
    ThrowAt(point, std::runtime_error("a surprise"));
    const absl::Status status = Run(Request(100, 10));
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << static_cast<int>(point);
    EXPECT_THAT(std::string(status.message()), HasSubstr("a surprise"));
    ThrowAt(point, 42);
    EXPECT_EQ(Run(Request(100, 10)).code(), absl::StatusCode::kInternal);
    ExpectHealthy();
  }
}

TEST_F(EngineFaultTest, AModelThatThrows) {
  ExpectHealthy();
  model_.set_hook([](const Batch&, absl::Span<float>) -> absl::Status { throw std::bad_alloc(); });
  EXPECT_EQ(Run(Request(100, 10)).code(), absl::StatusCode::kResourceExhausted);
  model_.set_hook([](const Batch&, absl::Span<float>) -> absl::Status {
    throw std::logic_error("impossible");
  });
  EXPECT_EQ(Run(Request(100, 10)).code(), absl::StatusCode::kInternal);
  ExpectHealthy();
}

// Requests that wait when a step fails are not concerned.
TEST_F(EngineFaultTest, AFailedStepEndsThoseInItOnly) {
  config_.max_running_sequences = 1;
  engine_ = Engine::Create(config_, &model_, &tokenizer_, nullptr);
  ExpectHealthy();
  std::atomic<bool> armed = true;
  std::latch submitted(1);
  model_.set_hook([&](const Batch&, absl::Span<float>) -> absl::Status {
    submitted.wait();
    if (armed.exchange(false)) return absl::ResourceExhaustedError("no room for the activations");
    return absl::OkStatus();
  });
  EventCollector in_step(1000), waiting(1000);
  ASSERT_TRUE(engine_->Submit(Request(100, 10), in_step.queue()).ok());
  ASSERT_TRUE(engine_->Submit(Request(100, 10), waiting.queue()).ok());
  submitted.count_down();
  EXPECT_EQ(in_step.ReadAll(), absl::ResourceExhaustedError("no room for the activations"));
  EXPECT_TRUE(waiting.ReadAll().ok());
  ExpectHealthy();
}

TEST_F(EngineFaultTest, SamplingThatFailsEndsOneRequest) {
  ExpectHealthy();
  const int64_t steps = model_.steps();
  set_fault([this, steps, armed = std::make_shared<std::atomic<bool>>(true)](FaultPoint point,
                                                                             Scheduler*) {
    // The first of those that decode.
    if (point == FaultPoint::kSample && model_.steps() > steps + 5 && armed->exchange(false)) {
      throw std::bad_alloc();
    }
  });
  EventCollector first(1000), second(1000);
  ASSERT_TRUE(engine_->Submit(Request(100, 20), first.queue()).ok());
  ASSERT_TRUE(engine_->Submit(Request(100, 20, 3), second.queue()).ok());
  EXPECT_EQ(first.ReadAll().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(second.ReadAll().ok());
  EXPECT_EQ(second.samples[0].tokens.size(), 20);
  ExpectHealthy();
}

// What a prompt left in the cache when its logits were not numbers is nobody else's.
TEST_F(EngineFaultTest, LogitsThatAreNotNumbersLeaveNothingInTheCache) {
  ExpectHealthy();
  model_.set_hook([](const Batch&, absl::Span<float> logits) {
    std::fill(logits.begin(), logits.end(), std::numeric_limits<float>::quiet_NaN());
    return absl::OkStatus();
  });
  EXPECT_EQ(Run(Request(300, 10, 5)).code(), absl::StatusCode::kInternal);
  model_.set_hook(nullptr);
  EXPECT_EQ(engine_->EstimateCost(Request(300, 10, 5))->cached_prompt_tokens, 0);
  ExpectHealthy();
}

// A step that takes long, as when weights are read from a slow disk: who gave up in the meantime,
// or whose time is over, is told right after it.
TEST_F(EngineFaultTest, ASlowStepIsFollowedByDeadlinesAndCancellations) {
  ExpectHealthy();
  std::latch in_step(1), go_on(1);
  model_.set_hook([&](const Batch&, absl::Span<float>) {
    if (!in_step.try_wait()) {
      in_step.count_down();
      go_on.wait();
    }
    return absl::OkStatus();
  });
  const int64_t steps = model_.steps();
  EventCollector fickle(1000), late(1000), queued(1000);
  ASSERT_TRUE(engine_->Submit(Request(200, 100), fickle.queue()).ok());
  in_step.wait();
  GenerationRequest hasty = Request(200, 100, 3);
  hasty.deadline = absl::Now() + absl::Milliseconds(20);
  ASSERT_TRUE(engine_->Submit(hasty, late.queue()).ok());
  ASSERT_TRUE(engine_->Submit(Request(200, 100, 5), queued.queue()).ok());
  // Neither needs the step to end.
  EXPECT_TRUE(engine_->EstimateCost(hasty).ok());
  EXPECT_EQ(engine_->stats().waiting_requests, 2);
  EXPECT_EQ(engine_->stats().running_sequences, 1);
  fickle.queue()->Cancel();
  queued.queue()->Cancel();
  engine_->Notify();
  absl::SleepFor(absl::Milliseconds(30));
  go_on.count_down();
  EXPECT_EQ(fickle.ReadAll().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(late.ReadAll().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(queued.ReadAll().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(model_.steps(), steps + 1);
  ExpectHealthy();
}

TEST_F(EngineFaultTest, ABrokenPageTableEndsItsRequest) {
  const std::vector<std::function<void(Scheduler*)>> corruptions = {
      // A page that does not exist.
      [](Scheduler* s) {
        s->mutable_pages_for_test({1, 0})->at(0) = 1 << 20;
      },
      [](Scheduler* s) {
        s->mutable_pages_for_test({1, 0})->at(1) = -1;
      },
      // A page that nobody holds.
      [](Scheduler* s) {
        int32_t page = 0;
        while (s->pool().references(page) > 0) ++page;
        s->mutable_pages_for_test({1, 0})->at(1) = page;
      },
      // A page that it may only read, to be written.
      [](Scheduler* s) {
        std::vector<int32_t>& pages = *s->mutable_pages_for_test({1, 0});
        pages.at(1) = pages.at(0);
      },
      // Pages that are missing.
      [](Scheduler* s) {
        s->mutable_pages_for_test({1, 0})->clear();
      },
  };
  for (const auto& corrupt : corruptions) {
    engine_ = Engine::Create(config_, &model_, &tokenizer_, nullptr);  // groups from 1 on
    absl::Status victim, other;
    Corrupt(corrupt, &victim, &other);
    EXPECT_EQ(victim.code(), absl::StatusCode::kInternal) << victim;
    EXPECT_THAT(std::string(victim.message()), HasSubstr("page table"));
    EXPECT_TRUE(other.ok()) << other;
    ExpectHealthy();
  }
}

TEST_F(EngineFaultTest, OnePageInTwoTablesEndsBoth) {
  absl::Status victim, other;
  Corrupt(
      [](Scheduler* s) {
        s->mutable_pages_for_test({1, 0})->at(1) = s->mutable_pages_for_test({2, 1})->at(1);
      },
      &victim, &other);
  EXPECT_EQ(victim.code(), absl::StatusCode::kInternal) << victim;
  EXPECT_EQ(other.code(), absl::StatusCode::kInternal) << other;
  ExpectHealthy();
}

}  // namespace
}  // namespace sieve
