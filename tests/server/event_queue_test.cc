#include "server/event_queue.h"

#include <gtest/gtest.h>

#include <thread>
#include <variant>

namespace sieve {
namespace {

DeltaEvent Delta(int32_t token) {
  DeltaEvent delta;
  delta.token_ids = {token};
  return delta;
}

int32_t TokenOf(const std::optional<GenerationEvent>& event) {
  return event ? std::get<DeltaEvent>(*event).token_ids.front() : -1;
}

TEST(EventQueueTest, FirstInFirstOutWithinItsCapacity) {
  EventQueue queue(2, nullptr);
  EXPECT_FALSE(queue.Pop(absl::UnixEpoch()));
  EXPECT_TRUE(queue.HasRoom());
  queue.Push(Delta(1));
  EXPECT_TRUE(queue.HasRoom());
  queue.Push(Delta(2));
  EXPECT_FALSE(queue.HasRoom());
  queue.Push(EndEvent{});  // beyond the capacity
  EXPECT_EQ(TokenOf(queue.Pop(absl::UnixEpoch())), 1);
  EXPECT_FALSE(queue.HasRoom());
  EXPECT_EQ(TokenOf(queue.Pop(absl::UnixEpoch())), 2);
  EXPECT_TRUE(queue.HasRoom());
  EXPECT_TRUE(std::holds_alternative<EndEvent>(*queue.Pop(absl::UnixEpoch())));
  EXPECT_FALSE(queue.Pop(absl::UnixEpoch()));
}

TEST(EventQueueTest, TellsTheReaderOnlyWhenItWasEmpty) {
  int calls = 0;
  EventQueue queue(4, [&] { ++calls; });
  queue.Push(Delta(1));
  queue.Push(Delta(2));
  EXPECT_EQ(calls, 1);
  queue.Pop(absl::UnixEpoch());
  queue.Push(Delta(3));
  EXPECT_EQ(calls, 1);
  queue.Pop(absl::UnixEpoch());
  queue.Pop(absl::UnixEpoch());
  queue.Push(Delta(4));
  EXPECT_EQ(calls, 2);
}

TEST(EventQueueTest, TheCallbackMayUseTheQueue) {
  EventQueue* self = nullptr;
  int32_t taken = 0;
  EventQueue queue(4, [&] { taken = TokenOf(self->Pop(absl::UnixEpoch())); });
  self = &queue;
  queue.Push(Delta(7));
  EXPECT_EQ(taken, 7);
}

TEST(EventQueueTest, RemembersWhenSomethingWasTaken) {
  EventQueue queue(4, nullptr);
  EXPECT_EQ(queue.LastPop(), absl::InfinitePast());
  queue.Pop(absl::UnixEpoch());  // there was nothing
  EXPECT_EQ(queue.LastPop(), absl::InfinitePast());
  queue.Push(Delta(1));
  queue.Pop(absl::UnixEpoch() + absl::Seconds(5));
  EXPECT_EQ(queue.LastPop(), absl::UnixEpoch() + absl::Seconds(5));
}

TEST(EventQueueTest, Cancel) {
  EventQueue queue(1, nullptr);
  EXPECT_FALSE(queue.cancelled());
  queue.Cancel();
  EXPECT_TRUE(queue.cancelled());
}

TEST(EventQueueTest, LosesNothingBetweenTwoThreads) {
  constexpr int kEvents = 20000;
  EventQueue queue(8, nullptr);
  std::thread writer([&] {
    for (int i = 0; i < kEvents; ++i) {
      while (!queue.HasRoom()) std::this_thread::yield();
      queue.Push(Delta(i));
    }
  });
  for (int i = 0; i < kEvents;) {
    const auto event = queue.Pop(absl::UnixEpoch());
    if (!event) {
      std::this_thread::yield();
      continue;
    }
    ASSERT_EQ(TokenOf(event), i++);
  }
  writer.join();
}

}  // namespace
}  // namespace sieve
