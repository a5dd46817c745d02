#ifndef SIEVE_SERVER_OPEN_CALLS_H_
#define SIEVE_SERVER_OPEN_CALLS_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/time/time.h"

namespace sieve {

// How many calls are open, for a server that wants to stop. Thread-safe.
class OpenCalls {
 public:
  // Waits until there is none, or for `timeout`; whether there is none.
  bool AwaitNone(absl::Duration timeout) {
    std::unique_lock lock(mutex_);
    return none_.wait_for(lock, absl::ToChronoMilliseconds(timeout), [this] { return open_ == 0; });
  }

  // Counts as an open call for as long as it lives. Borrows `calls`.
  class Call {
   public:
    explicit Call(OpenCalls* calls) : calls_(*calls) {
      std::lock_guard lock(calls_.mutex_);
      ++calls_.open_;
    }
    ~Call() {
      std::lock_guard lock(calls_.mutex_);
      if (--calls_.open_ == 0) calls_.none_.notify_all();
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    OpenCalls& calls_;
  };

 private:
  std::mutex mutex_;
  std::condition_variable none_;
  int open_ = 0;  // guarded by mutex_
};

}  // namespace sieve

#endif  // SIEVE_SERVER_OPEN_CALLS_H_
