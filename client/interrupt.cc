#include "client/interrupt.h"

#include <pthread.h>
#include <signal.h>

#include <utility>

namespace sieve {

Interrupt::Scope::Scope(Interrupt* interrupt, std::function<void()> action)
    : interrupt_(interrupt) {
  const std::lock_guard<std::mutex> lock(interrupt_->mutex_);
  interrupt_->action_ = std::move(action);
}

Interrupt::Scope::~Scope() {
  const std::lock_guard<std::mutex> lock(interrupt_->mutex_);
  interrupt_->action_ = nullptr;
}

void Interrupt::Raise() {
  {
    // Held while the action runs, so that what it cancels cannot go away meanwhile.
    const std::lock_guard<std::mutex> lock(mutex_);
    if (action_ != nullptr) return action_();
  }
  when_idle_();
}

SignalThread::SignalThread(Interrupt* interrupt) {
  struct sigaction old;
  if (sigaction(SIGINT, nullptr, &old) == 0 && old.sa_handler == SIG_IGN) return;
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  thread_ = std::thread([this, interrupt, signals] {
    int signal;
    while (sigwait(&signals, &signal) == 0 && !stopping_) interrupt->Raise();
  });
}

SignalThread::~SignalThread() {
  if (!thread_.joinable()) return;
  stopping_ = true;
  pthread_kill(thread_.native_handle(), SIGINT);
  thread_.join();
}

}  // namespace sieve
