#include "server/process_collector.h"

#include <fcntl.h>
#include <unistd.h>

#include <future>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/scrape.h"

namespace sieve {
namespace {

using testing::HasSubstr;

TEST(ProcessCollectorTest, CountsOpenFiles) {
  const ProcessStats before = ReadProcessStats().value();
  const int file = open("/dev/null", O_RDONLY);
  const ProcessStats during = ReadProcessStats().value();
  close(file);
  EXPECT_EQ(during.open_fds, before.open_fds + 1);
  EXPECT_EQ(ReadProcessStats()->open_fds, before.open_fds);
  EXPECT_GE(before.open_fds, 3);
  EXPECT_GT(before.max_fds, before.open_fds);
}

TEST(ProcessCollectorTest, CountsThreads) {
  const int64_t before = ReadProcessStats()->threads;
  std::promise<void> end;
  std::vector<std::thread> threads;
  std::shared_future<void> ended = end.get_future().share();
  for (int i = 0; i < 3; ++i) threads.emplace_back([ended] { ended.wait(); });
  const int64_t during = ReadProcessStats()->threads;
  end.set_value();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(during, before + 3);
}

TEST(ProcessCollectorTest, MemoryGrowsWithWhatIsTouched) {
  constexpr int64_t kBytes = 64 << 20;
  const int64_t before = ReadProcessStats()->resident_bytes;
  const std::vector<char> touched(kBytes, 1);
  EXPECT_GE(ReadProcessStats()->resident_bytes, before + kBytes * 9 / 10);
  EXPECT_EQ(touched[kBytes / 2], 1);
}

TEST(ProcessCollectorTest, TimesAreThoseOfThisProcess) {
  const ProcessStats before = ReadProcessStats().value();
  const double now = absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch());
  EXPECT_LE(before.start_time_seconds, now + 1);
  EXPECT_GE(before.start_time_seconds, now - 600);  // far beyond what this test takes
  double cpu = before.cpu_seconds;
  while (cpu < before.cpu_seconds + 0.02) cpu = ReadProcessStats()->cpu_seconds;
  EXPECT_GT(before.cpu_seconds, 0);
}

TEST(ProcessCollectorTest, WithoutProcfsThereAreNoFiguresAtAll) {
  EXPECT_EQ(ReadProcessStats("/nowhere").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Serialize({MakeProcessCollector("/nowhere")}), "");
  EXPECT_THAT(Serialize({MakeProcessCollector()}), HasSubstr("process_resident_memory_bytes "));
}

}  // namespace
}  // namespace sieve
