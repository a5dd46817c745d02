#ifndef SIEVE_TESTS_SERVER_FAKE_ENGINE_H_
#define SIEVE_TESTS_SERVER_FAKE_ENGINE_H_

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
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
    std::lock_guard lock(mutex_);
    if (!refusal_.ok()) return refusal_;
    submitted_.push_back({std::move(request), std::move(queue)});
    arrived_.notify_all();
    return absl::OkStatus();
  }
  absl::Status CheckAdmission(const std::string& tenant, double weight) const override {
    std::lock_guard lock(mutex_);
    return refusal_;
  }
  absl::StatusOr<CostEstimate> EstimateCost(const GenerationRequest& request) override {
    std::lock_guard lock(mutex_);
    return estimate_;
  }
  void SetAdapter(int32_t slot, std::shared_ptr<const Adapter> adapter,
                  std::function<void(const absl::Status&)> done) override {
    done(absl::OkStatus());
  }
  void Notify() override {
    std::lock_guard lock(mutex_);
    ++notifications_;
  }
  void Drain() override {}
  void Stop() override {}
  EngineStats stats() const override {
    std::lock_guard lock(mutex_);
    return stats_;
  }

  // Waits for the request after those taken before.
  Submitted Take() {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [this] { return taken_ < submitted_.size(); });
    return submitted_[taken_++];
  }
  size_t num_submitted() const {
    std::lock_guard lock(mutex_);
    return submitted_.size();
  }
  int notifications() const {
    std::lock_guard lock(mutex_);
    return notifications_;
  }
  void set_refusal(absl::Status status) {
    std::lock_guard lock(mutex_);
    refusal_ = std::move(status);
  }
  void set_estimate(const CostEstimate& estimate) {
    std::lock_guard lock(mutex_);
    estimate_ = estimate;
  }
  void set_stats(const EngineStats& stats) {
    std::lock_guard lock(mutex_);
    stats_ = stats;
  }

 private:
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable arrived_;
  absl::Status refusal_;
  CostEstimate estimate_;
  EngineStats stats_;
  std::vector<Submitted> submitted_;
  size_t taken_ = 0;
  int notifications_ = 0;
};

}  // namespace sieve

#endif  // SIEVE_TESTS_SERVER_FAKE_ENGINE_H_
