#ifndef SIEVE_SERVER_EVENT_READER_H_
#define SIEVE_SERVER_EVENT_READER_H_

#include <functional>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "server/engine.h"
#include "server/event_queue.h"
#include "server/gate.h"
#include "server/generation.h"

namespace sieve {

// The reading end of one request. The engine shares the queue and may outlive the reader with it.
// Thread-safe, but Next is for one thread at a time.
class EventReader {
 public:
  // `on_ready` is called on the engine's thread when there are events again; it must not block.
  // Borrows `engine`.
  EventReader(Engine* engine, std::function<void()> on_ready);
  ~EventReader();  // waits for a running on_ready
  EventReader(const EventReader&) = delete;
  EventReader& operator=(const EventReader&) = delete;

  absl::Status Submit(GenerationRequest request);

  // The next event, with the deltas of one sample that follow each other joined into one; nothing
  // when there is none yet.
  std::optional<GenerationEvent> Next();

  // Lets the engine know that Next made room.
  void NotifyRead() { engine_.Notify(); }

  // The engine gives up everything it holds for the request within one step.
  void Cancel();

 private:
  Engine& engine_;
  const std::shared_ptr<Gate> gate_;
  const std::shared_ptr<EventQueue> queue_;
  std::optional<GenerationEvent> ahead_;  // taken from the queue, not yet returned
};

}  // namespace sieve

#endif  // SIEVE_SERVER_EVENT_READER_H_
