#ifndef SIEVE_SERVER_OBSERVER_LIST_H_
#define SIEVE_SERVER_OBSERVER_LIST_H_

#include <vector>

#include "absl/time/time.h"
#include "server/engine.h"

namespace sieve {

// Tells several observers, in the order of their addition.
class ObserverList final : public EngineObserver {
 public:
  // `observer` is borrowed. Before the engine is made.
  void Add(EngineObserver* observer) { observers_.push_back(observer); }

  void OnStep(const StepRecord& step) override {
    for (EngineObserver* observer : observers_) observer->OnStep(step);
  }
  void OnFirstToken(absl::Duration time_to_first_token) override {
    for (EngineObserver* observer : observers_) observer->OnFirstToken(time_to_first_token);
  }
  void OnInterToken(absl::Duration gap) override {
    for (EngineObserver* observer : observers_) observer->OnInterToken(gap);
  }
  void OnEnd(const RequestRecord& record) override {
    for (EngineObserver* observer : observers_) observer->OnEnd(record);
  }

 private:
  std::vector<EngineObserver*> observers_;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_OBSERVER_LIST_H_
