#ifndef SIEVE_SERVER_EVENT_QUEUE_H_
#define SIEVE_SERVER_EVENT_QUEUE_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>

#include "absl/time/time.h"
#include "server/generation.h"

namespace sieve {

// The bounded queue between the engine and one stream. The engine never waits on it: before it
// schedules a sequence it asks HasRoom(), and leaves out a sequence whose reader is behind. The
// reader is told of the change from empty to not empty by a callback, which must not block.
// Thread-safe.
class EventQueue {
 public:
  // `on_ready` (may be empty) runs on the engine's thread, without locks held.
  EventQueue(size_t capacity, std::function<void()> on_ready);

  // Never fails: AcceptedEvent, FinishedEvent and EndEvent may go beyond the capacity (they are
  // few), and so may the deltas of one step of a request with several samples.
  void Push(GenerationEvent event);
  bool HasRoom() const;
  // When the reader last took something, for finding readers that vanished; the infinite past when
  // it never did.
  absl::Time LastPop() const;

  std::optional<GenerationEvent> Pop(absl::Time now);

  // Set by the reader's side; the engine looks at it at every step.
  void Cancel();
  bool cancelled() const;

 private:
  const size_t capacity_;
  const std::function<void()> on_ready_;
  // Of the standard library, for ThreadSanitizer does not see into the installed abseil's.
  mutable std::mutex mutex_;  // guards all below
  std::deque<GenerationEvent> events_;
  absl::Time last_pop_;
  bool cancelled_ = false;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_EVENT_QUEUE_H_
