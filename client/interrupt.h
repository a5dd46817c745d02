#ifndef SIEVE_CLIENT_INTERRUPT_H_
#define SIEVE_CLIENT_INTERRUPT_H_

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace sieve {

// What an interruption (Ctrl-C) does at the moment: an action while there is something to cancel,
// else something of the program's own. Thread-safe.
class Interrupt {
 public:
  // `when_idle` runs on the interrupting thread when nothing is there to be cancelled.
  explicit Interrupt(std::function<void()> when_idle) : when_idle_(std::move(when_idle)) {}

  // While it lives, an interruption runs `action`, which must not block. One at a time.
  class Scope {
   public:
    Scope(Interrupt* interrupt, std::function<void()> action);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Interrupt* const interrupt_;
  };

  void Raise();

 private:
  const std::function<void()> when_idle_;
  std::mutex mutex_;  // of the standard library: ThreadSanitizer does not see into abseil's
  std::function<void()> action_;  // guarded by mutex_
};

// Turns SIGINT into Interrupt::Raise on a thread of its own. Must be made before other threads are,
// since these inherit that the signal is blocked. Where SIGINT was ignored, as in a script's
// background jobs, it stays so.
class SignalThread {
 public:
  explicit SignalThread(Interrupt* interrupt);
  ~SignalThread();
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;

 private:
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace sieve

#endif  // SIEVE_CLIENT_INTERRUPT_H_
