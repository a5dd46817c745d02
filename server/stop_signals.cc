#include "server/stop_signals.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/time/time.h"
#include "server/log/logging.h"
#include "spdlog/spdlog.h"

namespace sieve {

StopSignals::StopSignals() {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  thread_ = std::thread([this] { Run(); });
}

StopSignals::~StopSignals() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  pthread_kill(thread_.native_handle(), SIGTERM);
  thread_.join();
}

void StopSignals::Expect(std::function<void()> hurry) {
  std::lock_guard lock(mutex_);
  hurry_ = std::move(hurry);
}

bool StopSignals::AwaitFor(absl::Duration most) {
  std::unique_lock lock(mutex_);
  return came_.wait_for(lock, absl::ToChronoMilliseconds(most), [this] { return count_ > 0; });
}

void StopSignals::Stop() {
  std::lock_guard lock(mutex_);
  count_ = std::max(count_, 1);
  came_.notify_all();
}

void StopSignals::Run() {
  for (;;) {
    int signal = 0;
    sigwait(&signals_, &signal);
    std::lock_guard lock(mutex_);
    if (ending_) return;
    Take(signal);
  }
}

// REQUIRES: mutex_ is held.
void StopSignals::Take(int signal) {
  const char* const name = signal == SIGINT ? "SIGINT" : "SIGTERM";
  ++count_;
  if (!hurry_) {
    spdlog::info("{} before anything was served: ending", name);
    FlushLog(absl::Seconds(2));
    _exit(EXIT_SUCCESS);
  }
  if (count_ == 1) {
    spdlog::info("{}: draining", name);
    came_.notify_all();
  } else if (count_ == 2) {
    spdlog::info("{} once more: stopping at once", name);
    hurry_();
  } else {
    _exit(128 + signal);  // as the signal itself would have it
  }
}

}  // namespace sieve
