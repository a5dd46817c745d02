#ifndef SIEVE_SERVER_STOP_SIGNALS_H_
#define SIEVE_SERVER_STOP_SIGNALS_H_

#include <condition_variable>
#include <csignal>
#include <functional>
#include <mutex>
#include <thread>

#include "absl/time/time.h"

namespace sieve {

// SIGINT and SIGTERM, as the process is told to stop. The first one asks it to end in order, the
// second to hurry, the third ends it.
class StopSignals {
 public:
  // REQUIRES: there is no other thread yet; those that follow leave the signals to this.
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // Until this is called, the first signal ends the process with status 0: there is nothing yet
  // that would have to end in order. `hurry` is called at the second signal, on a thread of this.
  void Expect(std::function<void()> hurry);

  // Waits for the first signal, at most for `most`; whether it has come. REQUIRES: Expect was
  // called.
  bool AwaitFor(absl::Duration most);

  // As the first signal does.
  void Stop();

  // `hurry` is not called any more.
  void Ignore() {
    Expect([] {});
  }

 private:
  void Run();
  void Take(int signal);

  sigset_t signals_;
  std::mutex mutex_;  // guards the next block
  std::condition_variable came_;
  std::function<void()> hurry_;
  int count_ = 0;  // of signals
  bool ending_ = false;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace sieve

#endif  // SIEVE_SERVER_STOP_SIGNALS_H_
