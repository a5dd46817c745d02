#include "server/event_queue.h"

#include <utility>

namespace sieve {

EventQueue::EventQueue(size_t capacity, std::function<void()> on_ready)
    : capacity_(capacity), on_ready_(std::move(on_ready)), last_pop_(absl::InfinitePast()) {}

void EventQueue::Push(GenerationEvent event) {
  bool was_empty;
  {
    std::lock_guard lock(mutex_);
    was_empty = events_.empty();
    events_.push_back(std::move(event));
  }
  if (was_empty && on_ready_) on_ready_();
}

bool EventQueue::HasRoom() const {
  std::lock_guard lock(mutex_);
  return events_.size() < capacity_;
}

absl::Time EventQueue::LastPop() const {
  std::lock_guard lock(mutex_);
  return last_pop_;
}

std::optional<GenerationEvent> EventQueue::Pop(absl::Time now) {
  std::lock_guard lock(mutex_);
  if (events_.empty()) return std::nullopt;
  GenerationEvent event = std::move(events_.front());
  events_.pop_front();
  last_pop_ = now;
  return event;
}

void EventQueue::Cancel() {
  std::lock_guard lock(mutex_);
  cancelled_ = true;
}

bool EventQueue::cancelled() const {
  std::lock_guard lock(mutex_);
  return cancelled_;
}

}  // namespace sieve
