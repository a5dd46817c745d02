#include "server/event_reader.h"

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/fake_engine.h"

namespace sieve {
namespace {

using testing::ElementsAre;

DeltaEvent Delta(int32_t sample, const std::string& text, int32_t token) {
  DeltaEvent delta;
  delta.sample = sample;
  delta.text = text;
  delta.token_ids = {token};
  delta.logprobs = {{.chosen = {token, -1.0f}, .top = {}}};
  return delta;
}

TEST(EventReaderTest, JoinsDeltasOfOneSampleThatFollowEachOther) {
  FakeEngine engine;
  EventReader reader(&engine, [] {});
  ASSERT_TRUE(reader.Submit({}).ok());
  EventQueue& queue = *engine.Take().queue;
  queue.Push(AcceptedEvent{3, 0});
  queue.Push(Delta(0, "a", 1));
  queue.Push(Delta(0, "b", 2));
  queue.Push(Delta(1, "c", 3));
  queue.Push(Delta(0, "d", 4));
  queue.Push(FinishedEvent{});
  queue.Push(Delta(1, "e", 5));

  EXPECT_TRUE(std::holds_alternative<AcceptedEvent>(*reader.Next()));
  std::optional<GenerationEvent> event = reader.Next();
  EXPECT_EQ(std::get<DeltaEvent>(*event).text, "ab");
  EXPECT_THAT(std::get<DeltaEvent>(*event).token_ids, ElementsAre(1, 2));
  EXPECT_EQ(std::get<DeltaEvent>(*event).logprobs.size(), 2);
  EXPECT_EQ(std::get<DeltaEvent>(*event).logprobs[1].chosen.token_id, 2);
  event = reader.Next();
  EXPECT_EQ(std::get<DeltaEvent>(*event).sample, 1);
  EXPECT_EQ(std::get<DeltaEvent>(*event).text, "c");
  EXPECT_EQ(std::get<DeltaEvent>(*reader.Next()).text, "d");
  EXPECT_TRUE(std::holds_alternative<FinishedEvent>(*reader.Next()));
  EXPECT_EQ(std::get<DeltaEvent>(*reader.Next()).text, "e");
  EXPECT_FALSE(reader.Next().has_value());
}

TEST(EventReaderTest, TheEngineMayPushWhenTheReaderIsGone) {
  FakeEngine engine;
  int calls = 0;
  {
    EventReader reader(&engine, [&calls] { ++calls; });
    ASSERT_TRUE(reader.Submit({}).ok());
    EXPECT_EQ(calls, 0);
  }
  engine.Take().queue->Push(EndEvent{});
  EXPECT_EQ(calls, 0);
}

TEST(EventReaderTest, ReadyIsToldOnceUntilTheQueueIsEmptyAgain) {
  FakeEngine engine;
  int calls = 0;
  EventReader reader(&engine, [&calls] { ++calls; });
  ASSERT_TRUE(reader.Submit({}).ok());
  EventQueue& queue = *engine.Take().queue;
  queue.Push(AcceptedEvent{});
  queue.Push(Delta(0, "a", 1));
  EXPECT_EQ(calls, 1);
  while (reader.Next().has_value()) {
  }
  queue.Push(EndEvent{});
  EXPECT_EQ(calls, 2);
}

TEST(EventReaderTest, CancelReachesTheEngine) {
  FakeEngine engine;
  EventReader reader(&engine, [] {});
  ASSERT_TRUE(reader.Submit({}).ok());
  const FakeEngine::Submitted submitted = engine.Take();
  EXPECT_FALSE(submitted.queue->cancelled());
  reader.Cancel();
  EXPECT_TRUE(submitted.queue->cancelled());
  EXPECT_EQ(engine.notifications(), 1);
}

// For ThreadSanitizer and AddressSanitizer: the reader goes while the engine pushes.
TEST(EventReaderTest, TheReaderMayGoAtAnyMoment) {
  FakeEngine engine;
  for (int round = 0; round < 200; ++round) {
    std::atomic<int> read = 0;
    std::optional<EventReader> reader;
    reader.emplace(&engine, [&reader, &read] {
      while (reader->Next().has_value()) ++read;
    });
    ASSERT_TRUE(reader->Submit({}).ok());
    std::thread pusher([queue = engine.Take().queue, round] {
      for (int i = 0; i < 10 && !queue->cancelled(); ++i) queue->Push(Delta(i % 2, "x", i));
      queue->Push(EndEvent{absl::CancelledError(absl::StrCat("round ", round))});
    });
    while (read < round % 8) std::this_thread::yield();
    reader->Cancel();
    reader.reset();
    pusher.join();
  }
}

}  // namespace
}  // namespace sieve
