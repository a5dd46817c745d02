#include "server/engine.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/admission.h"
#include "server/engine_core.h"
#include "server/open_request.h"
#include "server/refusal.h"
#include "server/scheduler.h"

namespace sieve {
namespace {

class EngineImpl : public Engine, private EngineCore::Owner {
 public:
  EngineImpl(const EngineConfig& config, LanguageModel* model, const Tokenizer* tokenizer,
             EngineObserver* observer)
      : config_(config),
        num_pages_(model->num_pages()),
        admission_({config.max_queued_requests, config.max_queued_prompt_tokens}),
        core_(config, model, tokenizer, observer != nullptr ? observer : &no_observer_, this) {
    thread_ = std::thread([this] { Run(); });
  }

  ~EngineImpl() override {
    Stop();
    thread_.join();
  }

  absl::Status Submit(GenerationRequest request, std::shared_ptr<EventQueue> queue) override;
  absl::Status CheckAdmission(const std::string& tenant, double weight) const override;
  absl::StatusOr<CostEstimate> EstimateCost(const GenerationRequest& request) override;
  void SetAdapter(int32_t slot, std::shared_ptr<const Adapter> adapter,
                  std::function<void(const absl::Status&)> done) override;
  void Notify() override;
  void Drain() override;
  void Stop() override;
  EngineStats stats() const override;

 private:
  struct AdapterChange {
    int32_t slot = 0;
    std::shared_ptr<const Adapter> adapter;
    std::function<void(const absl::Status&)> done;
  };

  absl::Status Check(const GenerationRequest& request) const;
  absl::Status CheckSize(const GenerationRequest& request) const;
  int64_t NewTokens(const GenerationRequest& request) const;
  // REQUIRES: mutex_ is held.
  absl::Status CheckQueue(const GenerationRequest& request, int64_t new_tokens) const;
  std::optional<absl::Duration> TimeToFirstToken(const GenerationRequest& request,
                                                 int64_t new_tokens) const;

  // All below run on the engine's thread.
  void Run();
  bool RunOnce();
  void ChangeAdapters();
  void Wait();
  void OnLeftQueue(const OpenRequest& open) override;
  void OnStepDone(const Admission::Step& step) override;
  void OnStats(const EngineStats& stats, int64_t prefill_backlog) override;
  void OnBroken(const absl::Status& status) override;
  // REQUIRES: mutex_ is held.
  absl::Status StopReason() const;

  const EngineConfig config_;
  const int64_t num_pages_;
  EngineObserver no_observer_;

  mutable std::mutex mutex_;  // guards the next block
  std::condition_variable news_;
  std::vector<std::unique_ptr<OpenRequest>> submitted_;
  std::deque<AdapterChange> adapter_changes_;
  Admission admission_;  // closed while draining and stopped
  // Requests by priority that are not in stats_ yet: submitted, and taken by the core.
  std::array<int64_t, 3> unseen_{}, taken_{};
  bool woken_ = false;
  bool stopped_ = false;
  absl::Status broken_;  // why it had to stop, when it was not told to
  EngineStats stats_;

  EngineCore core_;
  std::thread thread_;  // last: it uses all of the above
};

absl::Status ShuttingDown() {
  // Another server, or the next one in this one's place, may take the request soon.
  return Refusal(absl::UnavailableError("the server is shutting down"), RefusalReason::kDraining,
                 absl::Seconds(1));
}

absl::Status Late(absl::string_view message) {
  return Refusal(absl::DeadlineExceededError(message), RefusalReason::kLate);
}

// What has nothing to do with the load.
absl::Status EngineImpl::Check(const GenerationRequest& request) const {
  if (request.prompt.empty() || request.max_tokens < 1 || request.num_samples < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("a request has at least one prompt token, token to generate and sample; got ",
                     request.prompt.size(), ", ", request.max_tokens, ", ", request.num_samples));
  }
  if (!(request.tenant_weight > 0) || !std::isfinite(request.tenant_weight)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a tenant's weight is a positive number, not ", request.tenant_weight));
  }
  const int64_t length = static_cast<int64_t>(request.prompt.size()) + request.max_tokens;
  if (length > config_.context_length) {
    return absl::InvalidArgumentError(
        absl::StrCat(request.prompt.size(), " prompt tokens and ", request.max_tokens,
                     " to generate exceed the context of ", config_.context_length, " tokens"));
  }
  const absl::Status status = CheckSize(request);
  return status.ok() ? status : Refusal(status, RefusalReason::kTooLarge);
}

absl::Status EngineImpl::CheckSize(const GenerationRequest& request) const {
  const int64_t prompt = request.prompt.size();
  const int64_t bytes =
      Scheduler::PeakPages(prompt, request.max_tokens, request.num_samples) * config_.page_bytes;
  if (config_.max_request_cache_bytes > 0 && bytes > config_.max_request_cache_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the request may need ", bytes, " bytes of cache (", prompt, " prompt tokens, at most ",
        request.max_tokens, " generated for each of ", request.num_samples, " samples); ",
        config_.max_request_cache_bytes, " are allowed"));
  }
  return Scheduler::CheckFits(SchedulerConfigOf(config_), num_pages_, prompt, request.max_tokens,
                              request.num_samples);
}

// Prompt tokens that are not in the cache.
int64_t EngineImpl::NewTokens(const GenerationRequest& request) const {
  const int64_t prompt = request.prompt.size();
  return prompt - core_.CountCachedPages(request) * kPageTokens;
}

absl::Status EngineImpl::CheckQueue(const GenerationRequest& request, int64_t new_tokens) const {
  absl::Status status =
      admission_.Check(request.tenant, request.tenant_weight, request.prompt.size());
  if (!status.ok() || request.deadline == absl::InfiniteFuture()) return status;
  const absl::Time now = config_.clock();
  if (request.deadline <= now) return Late("the time allowed for the request is over");
  if (!config_.refuse_late) return absl::OkStatus();
  const auto estimate = TimeToFirstToken(request, new_tokens);
  if (!estimate || now + *estimate <= request.deadline) return absl::OkStatus();
  return Late(absl::StrCat("the first token would take about ", absl::FormatDuration(*estimate),
                           ", the request has ", absl::FormatDuration(request.deadline - now)));
}

std::optional<absl::Duration> EngineImpl::TimeToFirstToken(const GenerationRequest& request,
                                                           int64_t new_tokens) const {
  return admission_.TimeToFirstToken(request.tenant, request.tenant_weight, new_tokens);
}

absl::Status EngineImpl::Submit(GenerationRequest request, std::shared_ptr<EventQueue> queue) {
  if (absl::Status status = Check(request); !status.ok()) return status;
  if (request.arrival == absl::InfinitePast()) request.arrival = config_.clock();
  const int64_t new_tokens = config_.refuse_late ? NewTokens(request) : 0;
  auto open = std::make_unique<OpenRequest>(std::move(request), std::move(queue));
  const GenerationRequest& r = open->request;
  std::lock_guard lock(mutex_);
  if (absl::Status status = CheckQueue(r, new_tokens); !status.ok()) return status;
  admission_.Enter(r.tenant, r.tenant_weight, open->prompt_tokens);
  ++unseen_[PriorityClass(r.priority)];
  if (r.adapter != nullptr) r.adapter->requests->fetch_add(1, std::memory_order_relaxed);
  submitted_.push_back(std::move(open));
  news_.notify_one();
  return absl::OkStatus();
}

absl::Status EngineImpl::CheckAdmission(const std::string& tenant, double weight) const {
  std::lock_guard lock(mutex_);
  return admission_.Check(tenant, weight, 1);
}

absl::StatusOr<CostEstimate> EngineImpl::EstimateCost(const GenerationRequest& request) {
  CostEstimate estimate;
  const int64_t prompt = request.prompt.size();
  const int64_t new_tokens = NewTokens(request);
  estimate.cached_prompt_tokens = prompt - new_tokens;
  estimate.prompt_cache_bytes = Scheduler::PeakPages(prompt, 1, 1) * config_.page_bytes;
  estimate.peak_cache_bytes =
      Scheduler::PeakPages(prompt, request.max_tokens, request.num_samples) * config_.page_bytes;
  estimate.refusal = Check(request);
  std::lock_guard lock(mutex_);
  if (stopped_) return StopReason();
  estimate.time_to_first_token = TimeToFirstToken(request, new_tokens);
  if (estimate.refusal.ok()) estimate.refusal = CheckQueue(request, new_tokens);
  return estimate;
}

void EngineImpl::SetAdapter(int32_t slot, std::shared_ptr<const Adapter> adapter,
                            std::function<void(const absl::Status&)> done) {
  absl::Status stopped;
  {
    std::lock_guard lock(mutex_);
    if (stopped_) {
      stopped = StopReason();
    } else {
      adapter_changes_.push_back({slot, std::move(adapter), std::move(done)});
      news_.notify_one();
    }
  }
  if (!stopped.ok()) done(stopped);
}

void EngineImpl::Notify() {
  std::lock_guard lock(mutex_);
  woken_ = true;
  news_.notify_one();
}

void EngineImpl::Drain() {
  std::lock_guard lock(mutex_);
  admission_.Close();
  woken_ = true;
  news_.notify_one();
}

void EngineImpl::Stop() {
  std::lock_guard lock(mutex_);
  admission_.Close();
  stopped_ = true;
  news_.notify_one();
}

EngineStats EngineImpl::stats() const {
  std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  for (size_t i = 0; i < unseen_.size(); ++i) {
    stats.waiting_by_priority[i] += unseen_[i] + taken_[i];
    stats.waiting_requests += unseen_[i] + taken_[i];
  }
  stats.waiting_prompt_tokens = admission_.prompt_tokens();
  stats.prefill_rate = admission_.prefill_rate();
  return stats;
}

// An exception ends the requests that there are, never the thread.
void EngineImpl::Run() {
  while (true) {
    try {
      if (!RunOnce()) return;
    } catch (...) {
      const absl::Status status = StatusOfException();
      try {
        core_.Recover(status);
      } catch (...) {
        // Memory is short even for that: the next round tries again.
      }
    }
  }
}

// False when the engine has stopped and all is told.
bool EngineImpl::RunOnce() {
  bool draining;
  absl::Status stop;  // why, if it has to
  {
    std::lock_guard lock(mutex_);
    // Requests that were queued before the stop are taken even then, to be ended. Those of a round
    // that failed go first.
    if (core_.incoming()->empty()) {
      submitted_.swap(*core_.incoming());
      taken_ = std::exchange(unseen_, {});
    }
    woken_ = false;
    draining = admission_.closed();
    if (stopped_) stop = StopReason();
  }
  if (!stop.ok()) core_.EndAll(stop);
  ChangeAdapters();
  if (!stop.ok()) return false;
  if (draining) core_.EndUnstarted(ShuttingDown());
  if (!core_.Step()) Wait();
  return true;
}

void EngineImpl::ChangeAdapters() {
  while (true) {
    AdapterChange change;
    absl::Status status;
    {
      std::lock_guard lock(mutex_);
      if (adapter_changes_.empty()) return;
      change = std::move(adapter_changes_.front());
      adapter_changes_.pop_front();
      if (stopped_) status = StopReason();
    }
    try {
      if (status.ok()) status = core_.SetAdapter(change.slot, std::move(change.adapter));
    } catch (...) {
      change.done(StatusOfException());
      throw;  // of the steps that were handed out before
    }
    change.done(status);
  }
}

// Until something may have changed: a submission, a reader, a deadline.
void EngineImpl::Wait() {
  // A bound that the clocks can add to the present, whatever the deadline.
  const absl::Duration timeout = std::min(core_.NextTimeout() - config_.clock(), absl::Hours(1));
  std::unique_lock lock(mutex_);
  news_.wait_for(lock, absl::ToChronoNanoseconds(timeout), [this] {
    return !submitted_.empty() || !adapter_changes_.empty() || woken_ || stopped_;
  });
}

void EngineImpl::OnLeftQueue(const OpenRequest& open) {
  std::lock_guard lock(mutex_);
  admission_.Leave(open.request.tenant, open.prompt_tokens);
}

void EngineImpl::OnStepDone(const Admission::Step& step) {
  std::lock_guard lock(mutex_);
  admission_.ObserveStep(step);
}

void EngineImpl::OnStats(const EngineStats& stats, int64_t prefill_backlog) {
  std::lock_guard lock(mutex_);
  stats_ = stats;
  taken_ = {};
  admission_.set_prefill_backlog(prefill_backlog);
}

void EngineImpl::OnBroken(const absl::Status& status) {
  {
    std::lock_guard lock(mutex_);
    if (!broken_.ok()) return;
    broken_ = status;
    admission_.Close();
    stopped_ = true;
  }
  if (config_.on_broken) config_.on_broken(status);
}

absl::Status EngineImpl::StopReason() const {
  if (broken_.ok()) return ShuttingDown();
  return Refusal(absl::UnavailableError(absl::StrCat("the server's device failed, and the server "
                                                     "shuts down: ",
                                                     broken_.message())),
                 RefusalReason::kDraining, absl::Seconds(1));
}

}  // namespace

std::unique_ptr<Engine> Engine::Create(const EngineConfig& config, LanguageModel* model,
                                       const Tokenizer* tokenizer, EngineObserver* observer) {
  return std::make_unique<EngineImpl>(config, model, tokenizer, observer);
}

}  // namespace sieve
