#include "client/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>

#include "gtest/gtest.h"

namespace sieve {
namespace {

TEST(InterruptTest, RunsTheActionWhileThereIsOne) {
  int idle = 0, action = 0;
  Interrupt interrupt([&] { ++idle; });
  interrupt.Raise();
  {
    Interrupt::Scope scope(&interrupt, [&] { ++action; });
    interrupt.Raise();
    interrupt.Raise();
  }
  interrupt.Raise();
  EXPECT_EQ(idle, 2);
  EXPECT_EQ(action, 2);
}

TEST(SignalThreadTest, TurnsSigintIntoRaise) {
  std::mutex mutex;
  std::condition_variable changed;
  int raised = 0;
  Interrupt interrupt([&] {
    const std::lock_guard<std::mutex> lock(mutex);
    ++raised;
    changed.notify_one();
  });
  SignalThread thread(&interrupt);
  for (int expected = 1; expected <= 2; ++expected) {
    kill(getpid(), SIGINT);
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return raised == expected; });
  }
}

TEST(SignalThreadTest, EndsWithoutASignal) {
  int raised = 0;
  Interrupt interrupt([&] { ++raised; });
  { SignalThread thread(&interrupt); }
  EXPECT_EQ(raised, 0);
}

}  // namespace
}  // namespace sieve
