#ifndef SIEVE_KERNELS_THREAD_POOL_H_
#define SIEVE_KERNELS_THREAD_POOL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"

namespace sieve {

// A fixed set of threads for the short parallel regions of a model step (microseconds each,
// hundreds a step). Workers spin briefly for the next region before they sleep, so that an idle
// pool costs nothing.
class ThreadPool {
 public:
  // The calling thread is one of `num_threads`; at least 1.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(task, worker) for every task in [0, tasks), worker in [0, num_threads), and returns
  // when all are done. Tasks are handed out in order, one at a time. One region at a time: not
  // reentrant, one caller.
  void ParallelFor(int64_t tasks, absl::FunctionRef<void(int64_t task, int worker)> body);

 private:
  void WorkerLoop(int worker);
  void RunTasks(int worker);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> region_{0};  // counts regions; a change starts the workers
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stop_{false};
  // The current region; written before region_ changes, read after.
  const absl::FunctionRef<void(int64_t, int)>* body_ = nullptr;
  int64_t tasks_ = 0;
  std::atomic<int64_t> next_task_{0};
  std::atomic<int> unfinished_workers_{0};
};

}  // namespace sieve

#endif  // SIEVE_KERNELS_THREAD_POOL_H_
