#include "kernels/thread_pool.h"

#include <chrono>

namespace sieve {
namespace {

// Long enough to bridge the serial parts of a step, short enough to leave the core to others when
// it ends.
constexpr auto kSpinTime = std::chrono::microseconds(100);

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Spins until ready() or the time is up; says which. Yields now and then: with fewer free cores
// than threads, spinning must not keep the thread that it waits for from running.
template <class Ready>
bool SpinUntil(Ready ready) {
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < 256; ++i) {
      if (ready()) return true;
      Pause();
    }
    std::this_thread::yield();
  } while (std::chrono::steady_clock::now() < deadline);
  return ready();
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  for (int worker = 1; worker < num_threads; ++worker) {
    workers_.emplace_back([this, worker] { WorkerLoop(worker); });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_.store(true);
    region_.fetch_add(1);
  }
  wake_.notify_all();
  for (std::thread& thread : workers_) thread.join();
}

void ThreadPool::ParallelFor(int64_t tasks, absl::FunctionRef<void(int64_t, int)> body) {
  if (workers_.empty() || tasks <= 1) {
    for (int64_t task = 0; task < tasks; ++task) body(task, 0);
    return;
  }
  body_ = &body;
  tasks_ = tasks;
  next_task_.store(0, std::memory_order_relaxed);
  unfinished_workers_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  region_.fetch_add(
      1);  // seq_cst, as is sleeping_: either the worker sees the region or we see it asleep
  if (sleeping_.load() > 0) {
    std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
  RunTasks(0);
  const auto finished = [this] { return unfinished_workers_.load(std::memory_order_acquire) == 0; };
  while (!SpinUntil(finished)) {
  }
}

void ThreadPool::RunTasks(int worker) {
  for (int64_t task; (task = next_task_.fetch_add(1, std::memory_order_relaxed)) < tasks_;) {
    (*body_)(task, worker);
  }
}

void ThreadPool::WorkerLoop(int worker) {
  uint64_t seen = 0;
  for (;;) {
    const auto changed = [this, &seen] { return region_.load() != seen; };
    if (!SpinUntil(changed)) {
      std::unique_lock<std::mutex> lock(mutex_);
      sleeping_.fetch_add(1);
      wake_.wait(lock, changed);
      sleeping_.fetch_sub(1);
    }
    ++seen;
    if (stop_.load()) return;
    RunTasks(worker);
    unfinished_workers_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace sieve
