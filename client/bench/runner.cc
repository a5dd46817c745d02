#include "client/bench/runner.h"

#include <sys/prctl.h>

#include <algorithm>
#include <chrono>

namespace sieve {
namespace {

// From the start of Run to the run's time 0: for the first request to be made.
constexpr int64_t kLead = 10'000'000;

std::chrono::steady_clock::time_point ToTimePoint(int64_t steady_nanos) {
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(steady_nanos));
}

}  // namespace

Runner::Runner(const Config& config, const PromptMaker& prompts, const Objective& objective)
    : config_(config),
      prompts_(prompts),
      recorder_(config.window, objective, static_cast<int>(config.tenants.size())),
      free_slots_(config.concurrency.value_or(0), 0) {}

Measurements Runner::Run(Workload* workload) {
  // Sleeps end when they are told to, not up to 50 microseconds later.
  prctl(PR_SET_TIMERSLACK, 1);
  start_ = SteadyNanos() + (config_.concurrency ? 0 : kLead);
  std::optional<Prepared> next = Prepare(workload);
  while (Wait(NextWake(next), next.has_value())) {
    const int64_t now = Now();
    CancelDue(now);
    if (!next) {
      if (now >= drain_end_) AbandonAll();
    } else if (config_.concurrency && now >= config_.window.end) {
      next.reset();  // in an open loop the workload ends itself, however late this thread is
    } else if (const std::optional<int64_t> intended = TakeDue(*next, now)) {
      Send(*std::move(next), *intended);
      next = Prepare(workload);
    }
    if (!next) StartDraining();
  }
  Measurements measurements = recorder_.Take();
  measurements.max_in_flight = max_in_flight_seen_;
  if (stopped_) {
    measurements.interrupted = true;
    measurements.window.end = std::min(measurements.window.end, stopped_at_);
  }
  return measurements;
}

std::optional<Runner::Prepared> Runner::Prepare(Workload* workload) {
  if (config_.max_requests && prepared_ >= *config_.max_requests) return std::nullopt;
  std::optional<Arrival> arrival = workload->Next();
  if (!arrival) return std::nullopt;
  if (!config_.concurrency && arrival->at_ns >= config_.window.end) return std::nullopt;
  ++prepared_;
  v1::GenerateRequest request = config_.request;
  prompts_.Fill(*arrival, request.mutable_token_ids());
  request.mutable_stop()->set_max_tokens(arrival->max_tokens);
  BenchStream::Config config;
  config.run_start = start_;
  config.window = config_.window;
  config.timeout = config_.timeout;
  if (arrival->tenant >= 0) config.tenant = config_.tenants[arrival->tenant];
  auto stream = std::make_shared<BenchStream>(
      config, std::move(request), arrival->tenant,
      [this, index = arrival->index](const Outcome& outcome) { OnDone(index, outcome); });
  return Prepared{*std::move(arrival), std::move(stream)};
}

int64_t Runner::NextWake(const std::optional<Prepared>& next) const {
  int64_t wake = next ? config_.window.end : drain_end_;
  if (next && !config_.concurrency) wake = std::min(wake, next->arrival.at_ns);
  if (!cancellations_.empty()) wake = std::min(wake, cancellations_.top().first);
  return wake;
}

bool Runner::Wait(int64_t wake, bool sending) {
  std::vector<std::shared_ptr<BenchStream>> finished;  // deleted after the lock is given back
  std::unique_lock<std::mutex> lock(mutex_);
  const auto attention = [&] {
    return (stopped_ && !abandoned_) || (sending && !free_slots_.empty()) ||
           (!sending && in_flight_.empty());
  };
  if (wake == kNever) {
    wake_.wait(lock, attention);
  } else {
    wake_.wait_until(lock, ToTimePoint(start_ + wake), attention);
  }
  if (stopped_ && !abandoned_) {
    lock.unlock();
    AbandonAll();
    lock.lock();
    wake_.wait(lock, [this] { return in_flight_.empty(); });
  }
  finished.swap(finished_);
  return sending ? !stopped_ : !in_flight_.empty();
}

void Runner::StartDraining() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (draining_) return;
  draining_ = true;
  if (config_.drain_timeout != kNever) drain_end_ = Now() + config_.drain_timeout;
}

std::optional<int64_t> Runner::TakeDue(const Prepared& next, int64_t now) {
  if (!config_.concurrency) {
    if (now < next.arrival.at_ns) return std::nullopt;
    return next.arrival.at_ns;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (free_slots_.empty()) return std::nullopt;
  const int64_t since = free_slots_.front();
  free_slots_.pop_front();
  return since;
}

void Runner::Send(Prepared next, int64_t intended) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (static_cast<int64_t>(in_flight_.size()) >= config_.max_in_flight) {
      recorder_.AddUnsent(intended);
      return;
    }
    in_flight_[next.arrival.index] = next.stream;
    max_in_flight_seen_ = std::max<int64_t>(max_in_flight_seen_, in_flight_.size());
  }
  next.stream->Start(config_.stubs[next.arrival.index % config_.stubs.size()], intended);
  if (next.arrival.cancel_after_ns >= 0) {
    cancellations_.emplace(Now() + next.arrival.cancel_after_ns, next.arrival.index);
  }
}

void Runner::CancelDue(int64_t now) {
  while (!cancellations_.empty() && cancellations_.top().first <= now) {
    const int64_t index = cancellations_.top().second;
    cancellations_.pop();
    std::shared_ptr<BenchStream> stream;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const auto it = in_flight_.find(index);
      if (it != in_flight_.end()) stream = it->second;
    }
    if (stream != nullptr) stream->Cancel(Outcome::Ending::kCancelled);
  }
}

void Runner::AbandonAll() {
  abandoned_ = true;
  drain_end_ = kNever;
  std::vector<std::shared_ptr<BenchStream>> streams;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [index, stream] : in_flight_) streams.push_back(stream);
  }
  for (const auto& stream : streams) stream->Cancel(Outcome::Ending::kAbandoned);
}

void Runner::OnDone(int64_t index, const Outcome& outcome) {
  recorder_.Add(outcome);
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto it = in_flight_.find(index);
  finished_.push_back(std::move(it->second));
  in_flight_.erase(it);
  if (config_.concurrency) free_slots_.push_back(outcome.done);
  if (config_.concurrency || draining_ || stopped_) wake_.notify_one();
}

void Runner::Stop() {
  const std::lock_guard<std::mutex> lock(mutex_);
  stopped_ = true;
  stopped_at_ = Now();
  wake_.notify_one();
}

}  // namespace sieve
