#ifndef SIEVE_TESTS_SERVER_FAKE_ENGINE_H_
#define SIEVE_TESTS_SERVER_FAKE_ENGINE_H_

#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/engine.h"

namespace sieve {

// Does nothing by itself: the test takes what was submitted and pushes events as it likes.
// Thread-safe.
class FakeEngine : public Engine {
 public:
  struct Submitted {
    GenerationRequest request;
    std::shared_ptr<EventQueue> queue;
  };

  absl::Status Submit(GenerationRequest request, std::shared_ptr<EventQueue> queue) override {
    absl::MutexLock lock(&mutex_);
    if (!refusal_.ok()) return refusal_;
    submitted_.push_back({std::move(request), std::move(queue)});
    return absl::OkStatus();
  }
  void Notify() override {
    absl::MutexLock lock(&mutex_);
    ++notifications_;
  }
  void Stop() override {}
  EngineStats stats() const override {
    absl::MutexLock lock(&mutex_);
    return stats_;
  }

  // Waits for the request after those taken before.
  Submitted Take() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](FakeEngine* self) ABSL_EXCLUSIVE_LOCKS_REQUIRED(self->mutex_) {
          return self->taken_ < self->submitted_.size();
        },
        this));
    return submitted_[taken_++];
  }
  size_t num_submitted() const {
    absl::MutexLock lock(&mutex_);
    return submitted_.size();
  }
  int notifications() const {
    absl::MutexLock lock(&mutex_);
    return notifications_;
  }
  void set_refusal(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    refusal_ = std::move(status);
  }
  void set_stats(const EngineStats& stats) {
    absl::MutexLock lock(&mutex_);
    stats_ = stats;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Status refusal_ ABSL_GUARDED_BY(mutex_);
  EngineStats stats_ ABSL_GUARDED_BY(mutex_);
  std::vector<Submitted> submitted_ ABSL_GUARDED_BY(mutex_);
  size_t taken_ ABSL_GUARDED_BY(mutex_) = 0;
  int notifications_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace sieve

#endif  // SIEVE_TESTS_SERVER_FAKE_ENGINE_H_
