#ifndef SIEVE_SERVER_WORKER_POOL_H_
#define SIEVE_SERVER_WORKER_POOL_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sieve {

// Threads for work that would hold up those of gRPC, which must stay free to answer. Jobs start in
// the order in which they came. Thread-safe. Who adds jobs bounds their number.
class WorkerPool {
 public:
  explicit WorkerPool(int num_threads);
  ~WorkerPool();  // after all jobs that were added
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void Add(std::function<void()> job);

 private:
  void Run();

  // Of the standard library, for ThreadSanitizer does not see into the installed abseil's.
  std::mutex mutex_;  // guards the next block
  std::condition_variable news_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;

  std::vector<std::thread> threads_;  // last: they use all of the above
};

}  // namespace sieve

#endif  // SIEVE_SERVER_WORKER_POOL_H_
