#include "server/log/async_log.h"

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/log_capture.h"

namespace sieve {
namespace {

using testing::HasSubstr;
using testing::Not;

// A disk that stops answering until it is told to go on.
class SlowDisk {
 public:
  void Write() {
    std::unique_lock lock(mutex_);
    ++writes_begun_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !stopped_; });
  }
  void GoOn() {
    std::lock_guard lock(mutex_);
    stopped_ = false;
    changed_.notify_all();
  }
  void AwaitWrite() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return writes_begun_ > 0; });
  }

 private:
  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  bool stopped_ = true;
  int writes_begun_ = 0;
};

size_t CountLines(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

TEST(AsyncLogTest, WritesWhatIsLoggedInOrder) {
  const auto sink = std::make_shared<LogCapture>();
  AsyncLog log(sink, LogFormat::kText, spdlog::level::info, 1000);
  for (int i = 0; i < 100; ++i) {
    (i % 2 == 0 ? log.server_log() : log.request_log())->info("line {}", i);
  }
  log.server_log()->debug("too much detail");
  ASSERT_TRUE(log.Flush(absl::Seconds(30)));
  std::vector<std::string> lines = absl::StrSplit(sink->text(), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 100);
  for (int i = 0; i < 100; ++i) EXPECT_THAT(lines[i], HasSubstr(absl::StrCat("line ", i)));
  EXPECT_EQ(log.dropped(), 0);
}

// The test would hang here if a full queue blocked who logs: the disk goes on only afterwards.
TEST(AsyncLogTest, WhoLogsDoesNotWaitForASlowDisk) {
  constexpr int kMaxLines = 10;
  constexpr int kLines = 1000;
  SlowDisk disk;
  const auto sink = std::make_shared<LogCapture>([&disk] { disk.Write(); });
  AsyncLog log(sink, LogFormat::kText, spdlog::level::info, kMaxLines);
  log.request_log()->info("first");
  disk.AwaitWrite();
  for (int i = 0; i < kLines; ++i) log.request_log()->info("line {};", i);
  EXPECT_EQ(log.dropped(), kLines - kMaxLines);
  EXPECT_FALSE(log.Flush(absl::Milliseconds(1)));  // takes the place of one more line

  disk.GoOn();
  ASSERT_TRUE(log.Flush(absl::Seconds(30)));
  const std::string text = sink->text();
  EXPECT_THAT(text, HasSubstr("first\n"));
  EXPECT_THAT(text, HasSubstr("line 999;"));
  EXPECT_THAT(text, Not(HasSubstr("line 500;")));
  // Every line was either written or counted; a flush is no line.
  const int64_t flushes = 2;
  EXPECT_GE(CountLines(text) + log.dropped(), 1 + kLines);
  EXPECT_LE(CountLines(text) + log.dropped(), 1 + kLines + flushes);
}

TEST(AsyncLogTest, GoesOnAfterADiskWasSlow) {
  SlowDisk disk;
  const auto sink = std::make_shared<LogCapture>([&disk] { disk.Write(); });
  AsyncLog log(sink, LogFormat::kText, spdlog::level::info, 2);
  for (int i = 0; i < 100; ++i) log.request_log()->info("line {}", i);
  disk.GoOn();
  ASSERT_TRUE(log.Flush(absl::Seconds(30)));
  const int64_t dropped = log.dropped();
  log.request_log()->info("afterwards");
  ASSERT_TRUE(log.Flush(absl::Seconds(30)));
  EXPECT_THAT(sink->text(), HasSubstr("afterwards\n"));
  EXPECT_EQ(log.dropped(), dropped);
}

TEST(AsyncLogTest, WritesWhatIsQueuedBeforeItEnds) {
  const auto sink = std::make_shared<LogCapture>();
  {
    AsyncLog log(sink, LogFormat::kText, spdlog::level::info, 1000);
    for (int i = 0; i < 500; ++i) log.server_log()->info("line");
  }
  EXPECT_EQ(CountLines(sink->text()), 500);
}

}  // namespace
}  // namespace sieve
