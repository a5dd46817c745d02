#ifndef SIEVE_SERVER_STALL_WATCH_H_
#define SIEVE_SERVER_STALL_WATCH_H_

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/time/time.h"

namespace sieve {

// Looks after streams whose client takes nothing. The engine gives up what it runs for such a
// reader; what is left is a call that would wait for its last write, and hold memory, for ever.
// Thread-safe.
class StallWatch {
 public:
  class Stream {
   public:
    virtual ~Stream() = default;
    // Ends the call when it waits for its client since `limit` or longer.
    virtual void EndIfStalledSince(absl::Time limit) = 0;
  };

  // Streams are ended between `timeout` and 5/4 of it after their client took something.
  explicit StallWatch(absl::Duration timeout);
  ~StallWatch();
  StallWatch(const StallWatch&) = delete;
  StallWatch& operator=(const StallWatch&) = delete;

  // Until it is gone.
  void Add(std::weak_ptr<Stream> stream);

 private:
  void Run();
  void Look();

  const absl::Duration timeout_;
  std::mutex mutex_;  // guards the next block
  std::condition_variable stop_;
  std::vector<std::weak_ptr<Stream>> streams_;
  bool stopping_ = false;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace sieve

#endif  // SIEVE_SERVER_STALL_WATCH_H_
