#ifndef SIEVE_SERVER_GATE_H_
#define SIEVE_SERVER_GATE_H_

#include <functional>
#include <mutex>
#include <utility>

namespace sieve {

// A callback into an object that may go away while others still hold the callback. Thread-safe.
class Gate {
 public:
  explicit Gate(std::function<void()> function) : function_(std::move(function)) {}

  // Calls the function, unless the gate is closed.
  void Run() {
    std::lock_guard lock(mutex_);
    if (function_) function_();
  }

  // Waits for a running call; afterwards there are no more. REQUIRES: not within Run.
  void Close() {
    std::lock_guard lock(mutex_);
    function_ = nullptr;
  }

 private:
  // Of the standard library, for ThreadSanitizer does not see into the installed abseil's.
  std::mutex mutex_;
  std::function<void()> function_;  // guarded by mutex_
};

}  // namespace sieve

#endif  // SIEVE_SERVER_GATE_H_
