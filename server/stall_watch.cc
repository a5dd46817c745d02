#include "server/stall_watch.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"

namespace sieve {

StallWatch::StallWatch(absl::Duration timeout) : timeout_(timeout), thread_([this] { Run(); }) {}

StallWatch::~StallWatch() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  thread_.join();
}

void StallWatch::Add(std::weak_ptr<Stream> stream) {
  std::lock_guard lock(mutex_);
  streams_.push_back(std::move(stream));
}

void StallWatch::Run() {
  // A bound that clocks can add to the present.
  const auto period =
      absl::ToChronoMilliseconds(std::clamp(timeout_ / 4, absl::Milliseconds(1), absl::Hours(1)));
  std::unique_lock lock(mutex_);
  while (!stop_.wait_for(lock, period, [this] { return stopping_; })) {
    lock.unlock();
    Look();
    lock.lock();
  }
}

void StallWatch::Look() {
  const absl::Time limit = absl::Now() - timeout_;
  std::vector<std::shared_ptr<Stream>> streams;
  {
    std::lock_guard lock(mutex_);
    streams.reserve(streams_.size());
    std::erase_if(streams_, [&](const std::weak_ptr<Stream>& weak) {
      std::shared_ptr<Stream> stream = weak.lock();
      if (stream == nullptr) return true;
      streams.push_back(std::move(stream));
      return false;
    });
  }
  for (const std::shared_ptr<Stream>& stream : streams) stream->EndIfStalledSince(limit);
}

}  // namespace sieve
