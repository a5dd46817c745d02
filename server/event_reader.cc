#include "server/event_reader.h"

#include <utility>

#include "absl/time/clock.h"

namespace sieve {
namespace {

// Deltas that may wait for a reader before the engine stops running its request: a few seconds of
// output.
constexpr size_t kQueueCapacity = 256;

// Appends `next` to `delta` when it continues the same sample.
bool Join(DeltaEvent& delta, GenerationEvent& next) {
  DeltaEvent* more = std::get_if<DeltaEvent>(&next);
  if (more == nullptr || more->sample != delta.sample) return false;
  delta.text += more->text;
  delta.token_ids.insert(delta.token_ids.end(), more->token_ids.begin(), more->token_ids.end());
  delta.logprobs.insert(delta.logprobs.end(), std::make_move_iterator(more->logprobs.begin()),
                        std::make_move_iterator(more->logprobs.end()));
  return true;
}

}  // namespace

EventReader::EventReader(Engine* engine, std::function<void()> on_ready)
    : engine_(*engine),
      gate_(std::make_shared<Gate>(std::move(on_ready))),
      queue_(std::make_shared<EventQueue>(kQueueCapacity, [gate = gate_] { gate->Run(); })) {}

EventReader::~EventReader() { gate_->Close(); }

absl::Status EventReader::Submit(GenerationRequest request) {
  return engine_.Submit(std::move(request), queue_);
}

std::optional<GenerationEvent> EventReader::Next() {
  const absl::Time now = absl::Now();
  std::optional<GenerationEvent> event =
      ahead_.has_value() ? std::exchange(ahead_, std::nullopt) : queue_->Pop(now);
  if (!event.has_value()) return event;
  if (DeltaEvent* delta = std::get_if<DeltaEvent>(&*event)) {
    do {
      ahead_ = queue_->Pop(now);
    } while (ahead_.has_value() && Join(*delta, *ahead_));
  }
  return event;
}

void EventReader::Cancel() {
  queue_->Cancel();
  engine_.Notify();
}

}  // namespace sieve
