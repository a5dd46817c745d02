#ifndef SIEVE_SERVER_OPEN_CALLS_H_
#define SIEVE_SERVER_OPEN_CALLS_H_

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "absl/time/time.h"

namespace sieve {

// How many calls are open: bounded, for each holds memory, and counted, for a server that wants to
// stop. Thread-safe.
class OpenCalls {
 public:
  // A call is open for as long as it lives.
  class Call {
   public:
    ~Call() { calls_.Close(); }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    friend class OpenCalls;
    explicit Call(OpenCalls* calls) : calls_(*calls) {}

    OpenCalls& calls_;
  };

  explicit OpenCalls(int64_t limit) : limit_(limit) {}

  int64_t limit() const { return limit_; }

  // Null when as many are open as may be.
  std::shared_ptr<const Call> Open() {
    std::lock_guard lock(mutex_);
    if (open_ >= limit_) return nullptr;
    ++open_;
    return std::shared_ptr<const Call>(new Call(this));
  }

  // Waits until there is none, or for `timeout`; whether there is none.
  bool AwaitNone(absl::Duration timeout) {
    std::unique_lock lock(mutex_);
    return none_.wait_for(lock, absl::ToChronoMilliseconds(timeout), [this] { return open_ == 0; });
  }

 private:
  void Close() {
    std::lock_guard lock(mutex_);
    if (--open_ == 0) none_.notify_all();
  }

  const int64_t limit_;
  // Of the standard library, for ThreadSanitizer does not see into the installed abseil's.
  std::mutex mutex_;
  std::condition_variable none_;
  int64_t open_ = 0;  // guarded by mutex_
};

}  // namespace sieve

#endif  // SIEVE_SERVER_OPEN_CALLS_H_
