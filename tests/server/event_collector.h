#ifndef SIEVE_TESTS_SERVER_EVENT_COLLECTOR_H_
#define SIEVE_TESTS_SERVER_EVENT_COLLECTOR_H_

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
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
      std::unique_lock lock(mutex_);
      if (!woken_.wait_for(lock, std::chrono::seconds(30), [this] { return ready_; })) {
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
    std::lock_guard lock(mutex_);
    ready_ = true;
    woken_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable woken_;
  bool ready_ = false;  // guarded by mutex_
  const std::shared_ptr<EventQueue> queue_;
};

}  // namespace sieve

#endif  // SIEVE_TESTS_SERVER_EVENT_COLLECTOR_H_
