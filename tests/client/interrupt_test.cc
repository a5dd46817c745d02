#include "client/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include "absl/synchronization/notification.h"
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
  absl::Notification first, second;
  Interrupt interrupt([&] { (first.HasBeenNotified() ? second : first).Notify(); });
  SignalThread thread(&interrupt);
  kill(getpid(), SIGINT);
  first.WaitForNotification();
  kill(getpid(), SIGINT);
  second.WaitForNotification();
}

TEST(SignalThreadTest, EndsWithoutASignal) {
  int raised = 0;
  Interrupt interrupt([&] { ++raised; });
  { SignalThread thread(&interrupt); }
  EXPECT_EQ(raised, 0);
}

}  // namespace
}  // namespace sieve
