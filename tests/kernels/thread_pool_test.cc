#include "kernels/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace sieve {
namespace {

TEST(ThreadPool, RunsEveryTaskOnce) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.num_threads(), threads);
    for (int64_t tasks : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(tasks);
      pool.ParallelFor(tasks, [&](int64_t task, int worker) {
        EXPECT_GE(worker, 0);
        EXPECT_LT(worker, threads);
        runs[task].fetch_add(1);
      });
      for (const auto& r : runs) EXPECT_EQ(r.load(), 1);
    }
  }
}

// What one region writes, the next one sees: plain variables, so that a missing fence shows under
// TSan.
TEST(ThreadPool, RegionsAreOrdered) {
  ThreadPool pool(4);
  std::vector<int64_t> values(64, 0);
  for (int round = 0; round < 500; ++round) {
    pool.ParallelFor(64, [&](int64_t i, int) { values[i] = 1; });
    pool.ParallelFor(32, [&](int64_t i, int) { values[63 - i] += values[i] + i; });
    for (int64_t i = 0; i < 32; ++i) ASSERT_EQ(values[63 - i], i + 2);
  }
}

TEST(ThreadPool, WakesSleepers) {
  ThreadPool pool(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // long past the spinning
    std::atomic<int> sum{0};
    pool.ParallelFor(100, [&](int64_t, int) { sum.fetch_add(1); });
    EXPECT_EQ(sum.load(), 100);
  }
}

TEST(ThreadPool, StartsAndStopsAtOnce) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(4);
}

}  // namespace
}  // namespace sieve
