#ifndef SIEVE_SERVER_GATE_H_
#define SIEVE_SERVER_GATE_H_

#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace sieve {

// A callback into an object that may go away while others still hold the callback. Thread-safe.
class Gate {
 public:
  explicit Gate(std::function<void()> function) : function_(std::move(function)) {}

  // Calls the function, unless the gate is closed.
  void Run() {
    absl::MutexLock lock(&mutex_);
    if (function_) function_();
  }

  // Waits for a running call; afterwards there are no more. REQUIRES: not within Run.
  void Close() {
    absl::MutexLock lock(&mutex_);
    function_ = nullptr;
  }

 private:
  absl::Mutex mutex_;
  std::function<void()> function_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sieve

#endif  // SIEVE_SERVER_GATE_H_
