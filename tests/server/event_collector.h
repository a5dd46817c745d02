#ifndef SIEVE_TESTS_SERVER_EVENT_COLLECTOR_H_
#define SIEVE_TESTS_SERVER_EVENT_COLLECTOR_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/event_queue.h"
#include "server/generation.h"

namespace sieve {

// What one sample said.
struct CollectedSample {
  std::string text;
  std::vector<int32_t> tokens;
  std::vector<PositionLogprobs> logprobs;
  std::optional<FinishedEvent> finished;
};

// A reader for tests: a queue, and the sum of what came out of it.
class EventCollector {
 public:
  explicit EventCollector(size_t capacity = 16)
      : queue_(std::make_shared<EventQueue>(capacity, [this] { Wake(); })) {}

  const std::shared_ptr<EventQueue>& queue() const { return queue_; }

  // Takes one event; false when there is none now.
  bool TakeOne(absl::Time now = absl::Now()) {
    std::optional<GenerationEvent> event = queue_->Pop(now);
    if (!event) return false;
    std::visit([this](auto& e) { Take(std::move(e)); }, *event);
    return true;
  }

  // Takes events until the last one; its status. DEADLINE_EXCEEDED of its own after half a minute.
  // `after_each` runs after every event.
  template <typename Function>
  absl::Status ReadAll(Function after_each) {
    while (!end) {
      if (TakeOne()) {
        after_each();
        continue;
      }
      absl::MutexLock lock(&mutex_);
      if (!mutex_.AwaitWithTimeout(absl::Condition(&ready_), absl::Seconds(30))) {
        return absl::DeadlineExceededError("the test waited for an event in vain");
      }
      ready_ = false;
    }
    return *end;
  }
  absl::Status ReadAll() {
    return ReadAll([] {});
  }

  std::optional<AcceptedEvent> accepted;
  std::map<int32_t, CollectedSample> samples;
  std::optional<absl::Status> end;
  std::string error;  // of the order of events

 private:
  void Take(AcceptedEvent event) {
    if (accepted || !samples.empty()) error = "accepted is not the first event";
    accepted = event;
  }
  void Take(DeltaEvent event) {
    CollectedSample& sample = samples[event.sample];
    if (!accepted || sample.finished) error = "a delta out of order";
    sample.text += event.text;
    sample.tokens.insert(sample.tokens.end(), event.token_ids.begin(), event.token_ids.end());
    sample.logprobs.insert(sample.logprobs.end(), event.logprobs.begin(), event.logprobs.end());
  }
  void Take(FinishedEvent event) {
    if (samples[event.sample].finished) error = "a sample finished twice";
    samples[event.sample].finished = std::move(event);
  }
  void Take(EndEvent event) {
    if (end) error = "two ends";
    end = event.status;
  }
  void Wake() {
    absl::MutexLock lock(&mutex_);
    ready_ = true;
  }

  absl::Mutex mutex_;
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;
  const std::shared_ptr<EventQueue> queue_;
};

}  // namespace sieve

#endif  // SIEVE_TESTS_SERVER_EVENT_COLLECTOR_H_
