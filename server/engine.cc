#include "server/engine.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/sampling/sampler.h"
#include "server/engine_batch.h"
#include "server/engine_sample.h"
#include "server/refusal.h"
#include "server/scheduler.h"

namespace sieve {
namespace {

// A request from its submission until its EndEvent.
struct OpenRequest {
  GenerationRequest request;  // the prompt is the scheduler's once it is queued there
  std::shared_ptr<EventQueue> queue;
  int32_t prompt_tokens = 0;
  int32_t cached_prompt_tokens = 0;
  std::vector<EngineSample> samples;
  int32_t unfinished_samples = 0;
  absl::Time scheduled = absl::InfiniteFuture();  // first step
  bool forked = false;                            // the prompt is computed
  bool behind = false;                            // the queue is full
  absl::Time behind_since;

  bool started() const { return scheduled != absl::InfiniteFuture(); }
};

SchedulerConfig SchedulerConfigOf(const EngineConfig& config) {
  SchedulerConfig scheduler;
  scheduler.max_step_tokens = config.max_step_tokens;
  scheduler.max_running_sequences = config.max_running_sequences;
  scheduler.prefix_reuse = config.prefix_reuse;
  return scheduler;
}

class EngineImpl : public Engine {
 public:
  EngineImpl(const EngineConfig& config, LanguageModel* model, const Tokenizer* tokenizer,
             EngineObserver* observer)
      : config_(config),
        model_(model),
        tokenizer_(tokenizer),
        observer_(observer != nullptr ? observer : &no_observer_),
        scheduler_(SchedulerConfigOf(config), model->num_pages()) {
    UpdateStats();
    thread_ = std::thread([this] { Run(); });
  }

  ~EngineImpl() override {
    Stop();
    thread_.join();
  }

  absl::Status Submit(GenerationRequest request, std::shared_ptr<EventQueue> queue) override;
  absl::Status CheckAdmission(const std::string& tenant, double weight) const override;
  absl::StatusOr<CostEstimate> EstimateCost(const GenerationRequest& request) override;
  void Notify() override;
  void Drain() override;
  void Stop() override;
  EngineStats stats() const override;

 private:
  using OpenMap = std::map<int64_t, std::unique_ptr<OpenRequest>>;

  absl::Status Check(const GenerationRequest& request) const;
  absl::Status CheckQueueLocked() const;  // REQUIRES: mutex_ is held

  // All below run on the engine's thread.
  void Run();
  bool TakeSubmissions();
  void Open(std::unique_ptr<OpenRequest> open);
  void CheckReaders(absl::Time now);
  void Wait(absl::Time now);
  void RunStep(const StepPlan& plan, absl::Time now);
  void Start(const StartedGroup& started, absl::Time now);
  void CountTokens(const StepPlan& plan, absl::Duration step);
  void TakeLogits(const Chunk& chunk, absl::Span<const float> logits, absl::Time now);
  bool NextToken(SequenceId id, OpenRequest* open, absl::Span<const float> logits, absl::Time now);
  void FinishSample(SequenceId id, OpenRequest* open, EngineSample::Output output,
                    int32_t preemptions);
  void End(int64_t group, const absl::Status& status);
  void LeaveQueue();
  void UpdateStats();

  const EngineConfig config_;
  LanguageModel* const model_;
  const Tokenizer* const tokenizer_;
  EngineObserver no_observer_;
  EngineObserver* const observer_;

  // The engine thread's own.
  Scheduler scheduler_;
  OpenMap open_;  // by the scheduler's group
  EngineBatch batch_;
  Sampler sampler_;
  std::vector<float> logits_;
  EngineStats totals_;

  mutable std::mutex mutex_;  // guards the next block
  std::condition_variable news_;
  std::vector<std::unique_ptr<OpenRequest>> submitted_;
  int64_t queued_ = 0;  // requests that have not started
  bool woken_ = false;
  bool draining_ = false;
  bool stopped_ = false;
  EngineStats stats_;

  std::thread thread_;  // last: it uses all of the above
};

absl::Status EngineImpl::Check(const GenerationRequest& request) const {
  if (request.prompt.empty() || request.max_tokens < 1 || request.num_samples < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("a request has at least one prompt token, token to generate and sample; got ",
                     request.prompt.size(), ", ", request.max_tokens, ", ", request.num_samples));
  }
  const int64_t length = static_cast<int64_t>(request.prompt.size()) + request.max_tokens;
  if (length > config_.context_length) {
    return absl::InvalidArgumentError(
        absl::StrCat(request.prompt.size(), " prompt tokens and ", request.max_tokens,
                     " to generate exceed the context of ", config_.context_length, " tokens"));
  }
  return Scheduler::CheckFits(SchedulerConfigOf(config_), model_->num_pages(),
                              request.prompt.size(), request.max_tokens, request.num_samples);
}

absl::Status EngineImpl::Submit(GenerationRequest request, std::shared_ptr<EventQueue> queue) {
  if (absl::Status status = Check(request); !status.ok()) return status;
  if (request.arrival == absl::InfinitePast()) request.arrival = config_.clock();
  auto open = std::make_unique<OpenRequest>();
  open->request = std::move(request);
  open->queue = std::move(queue);
  std::lock_guard lock(mutex_);
  if (absl::Status status = CheckQueueLocked(); !status.ok()) return status;
  ++queued_;
  submitted_.push_back(std::move(open));
  news_.notify_one();
  return absl::OkStatus();
}

absl::Status EngineImpl::CheckQueueLocked() const {
  if (stopped_ || draining_) {
    return Refusal(absl::UnavailableError("the server is shutting down"), RefusalReason::kDraining,
                   absl::Seconds(1));
  }
  if (queued_ >= config_.max_queued_requests) {
    return Refusal(absl::ResourceExhaustedError(
                       absl::StrCat("the queue is full: ", queued_, " requests are waiting")),
                   RefusalReason::kQueueFull, absl::Seconds(1));
  }
  return absl::OkStatus();
}

absl::Status EngineImpl::CheckAdmission(const std::string& tenant, double weight) const {
  std::lock_guard lock(mutex_);
  return CheckQueueLocked();
}

absl::StatusOr<CostEstimate> EngineImpl::EstimateCost(const GenerationRequest& request) {
  CostEstimate estimate;
  estimate.refusal = Check(request);
  return estimate;
}

void EngineImpl::Drain() {
  std::lock_guard lock(mutex_);
  draining_ = true;
  news_.notify_one();
}

void EngineImpl::Notify() {
  std::lock_guard lock(mutex_);
  woken_ = true;
  news_.notify_one();
}

void EngineImpl::Stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  news_.notify_one();
}

EngineStats EngineImpl::stats() const {
  std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.waiting_requests += submitted_.size();
  return stats;
}

void EngineImpl::Run() {
  while (TakeSubmissions()) {
    const absl::Time now = config_.clock();
    CheckReaders(now);
    const StepPlan plan = scheduler_.Plan(now);
    totals_.preemptions += plan.preempted.size();
    for (const int64_t group : plan.expired) {
      End(group, absl::DeadlineExceededError("the time allowed for the request is over"));
    }
    if (!plan.chunks.empty()) RunStep(plan, now);
    UpdateStats();
    if (plan.chunks.empty()) Wait(now);
  }
  while (!open_.empty()) {
    End(open_.begin()->first, absl::UnavailableError("the server is shutting down"));
  }
}

// False when the engine is to stop. Requests that were queued before that are taken even then, to
// be ended.
bool EngineImpl::TakeSubmissions() {
  std::vector<std::unique_ptr<OpenRequest>> submitted;
  bool stopped;
  {
    std::lock_guard lock(mutex_);
    submitted.swap(submitted_);
    woken_ = false;
    stopped = stopped_;
  }
  for (std::unique_ptr<OpenRequest>& open : submitted) Open(std::move(open));
  return !stopped;
}

void EngineImpl::Open(std::unique_ptr<OpenRequest> open) {
  GenerationRequest& request = open->request;
  open->prompt_tokens = request.prompt.size();
  open->unfinished_samples = request.num_samples;
  for (int32_t i = 0; i < request.num_samples; ++i) {
    open->samples.emplace_back(&request, tokenizer_, i, request.prompt);
  }
  SequenceGroup group;
  group.prompt = std::move(request.prompt);
  group.num_samples = request.num_samples;
  group.max_tokens = request.max_tokens;
  group.priority = request.priority;
  group.deadline = request.deadline;
  open_.emplace(scheduler_.Add(std::move(group)), std::move(open));
}

// Ends requests whose reader cancelled or vanished; those whose reader is behind do not run.
void EngineImpl::CheckReaders(absl::Time now) {
  for (auto next = open_.begin(); next != open_.end();) {
    const auto [group, open] = std::pair(next->first, next->second.get());
    ++next;  // End removes this one
    if (open->queue->cancelled()) {
      End(group, absl::CancelledError("the caller cancelled the request"));
      continue;
    }
    const bool behind = !open->queue->HasRoom();
    if (behind != open->behind) {
      open->behind = behind;
      open->behind_since = now;
      scheduler_.SetPaused(group, behind);
    }
    if (!behind) continue;
    const absl::Duration stalled = now - std::max(open->behind_since, open->queue->LastPop());
    if (stalled >= config_.stalled_reader_timeout) {
      End(group, absl::CancelledError(absl::StrCat("the reader took nothing for ",
                                                   absl::FormatDuration(stalled),
                                                   " while its queue was full")));
    }
  }
}

// Until something may have changed: a submission, a reader, a deadline.
void EngineImpl::Wait(absl::Time now) {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [group, open] : open_) {
    next = std::min(next, open->request.deadline);
    if (!open->behind) continue;
    next = std::min(next, std::max(open->behind_since, open->queue->LastPop()) +
                              config_.stalled_reader_timeout);
  }
  // A bound that the clocks can add to the present, whatever the deadline.
  const absl::Duration timeout = std::min(next - now, absl::Hours(1));
  std::unique_lock lock(mutex_);
  news_.wait_for(lock, absl::ToChronoNanoseconds(timeout),
                 [this] { return !submitted_.empty() || woken_ || stopped_; });
}

void EngineImpl::RunStep(const StepPlan& plan, absl::Time now) {
  for (const StartedGroup& started : plan.started) Start(started, now);
  const Batch batch = batch_.Build(plan, scheduler_);
  const int64_t vocabulary = model_->vocabulary_size();
  const int64_t num_logits = batch.logit_rows.size() * vocabulary;
  if (logits_.size() < num_logits) logits_.resize(num_logits);
  if (!plan.copies.empty()) model_->CopyPages(plan.copies);
  const absl::Status status = model_->Forward(batch, absl::MakeSpan(logits_).first(num_logits));
  const absl::Time done = config_.clock();
  ++totals_.steps;
  if (!status.ok()) {
    for (const Chunk& chunk : plan.chunks) End(chunk.sequence.group, status);
    return;
  }
  CountTokens(plan, done - now);
  absl::Span<const float> rows = logits_;
  for (const Chunk& chunk : plan.chunks) {
    // A request that failed in this very step is no longer open.
    const bool is_open = open_.contains(chunk.sequence.group);
    if (is_open) scheduler_.Commit(chunk);
    if (!chunk.wants_logits) continue;
    if (is_open) TakeLogits(chunk, rows.first(vocabulary), done);
    rows.remove_prefix(vocabulary);
  }
}

void EngineImpl::Start(const StartedGroup& started, absl::Time now) {
  OpenRequest& open = *open_.at(started.group);
  open.scheduled = now;
  open.cached_prompt_tokens = started.cached_tokens;
  totals_.prompt_tokens_cached += started.cached_tokens;
  LeaveQueue();
  open.queue->Push(AcceptedEvent{open.prompt_tokens, open.cached_prompt_tokens});
}

void EngineImpl::CountTokens(const StepPlan& plan, absl::Duration step) {
  int64_t prefill = 0;
  int64_t decode = 0;
  for (const Chunk& chunk : plan.chunks) {
    const bool decodes = chunk.count == 1 && open_.at(chunk.sequence.group)->forked;
    (decodes ? decode : prefill) += chunk.count;
  }
  totals_.prompt_tokens_computed += prefill;
  StepRecord record;
  record.forward = step;
  record.sequences = plan.chunks.size();
  record.prefill_tokens = prefill;
  record.decode_tokens = decode;
  observer_->OnStep(record);
}

void EngineImpl::TakeLogits(const Chunk& chunk, absl::Span<const float> logits, absl::Time now) {
  OpenRequest& open = *open_.at(chunk.sequence.group);
  if (open.forked) {
    NextToken(chunk.sequence, &open, logits, now);
    return;
  }
  // The prompt is computed: every sample draws its first token from the same row.
  open.forked = true;
  scheduler_.Fork(chunk.sequence.group);
  observer_->OnFirstToken(now - open.request.arrival);
  const int32_t num_samples = open.request.num_samples;
  for (int32_t i = 0; i < num_samples; ++i) {
    if (!NextToken({chunk.sequence.group, i}, &open, logits, now)) return;
  }
}

// False when the request ended with this token and `open` is gone.
bool EngineImpl::NextToken(SequenceId id, OpenRequest* open, absl::Span<const float> logits,
                           absl::Time now) {
  EngineSample& sample = open->samples[id.sample];
  if (sample.generated() > 0) observer_->OnInterToken(now - sample.last_token());
  absl::StatusOr<EngineSample::Output> output = sample.Next(logits, now, &sampler_);
  if (!output.ok()) {
    End(id.group, output.status());
    return false;
  }
  ++totals_.generated_tokens;
  if (!output->reason) {
    scheduler_.Append(id, output->delta.token_ids.front());
    open->queue->Push(std::move(output->delta));
    return true;
  }
  const int32_t preemptions = scheduler_.preemptions(id);
  scheduler_.Finish(id);
  FinishSample(id, open, *std::move(output), preemptions);
  if (--open->unfinished_samples > 0) return true;
  End(id.group, absl::OkStatus());
  return false;
}

void EngineImpl::FinishSample(SequenceId id, OpenRequest* open, EngineSample::Output output,
                              int32_t preemptions) {
  const EngineSample& sample = open->samples[id.sample];
  FinishedEvent finished;
  finished.sample = id.sample;
  finished.reason = *output.reason;
  finished.stop_text = std::move(output.stop_text);
  finished.prompt_tokens = open->prompt_tokens;
  finished.cached_prompt_tokens = open->cached_prompt_tokens;
  finished.generated_tokens = sample.generated();
  finished.preemptions = preemptions;
  finished.queue = open->scheduled - open->request.arrival;
  finished.prefill = sample.first_token() - open->scheduled;
  finished.time_to_first_token = sample.first_token() - open->request.arrival;
  finished.decode = sample.last_token() - sample.first_token();
  open->queue->Push(std::move(output.delta));
  open->queue->Push(std::move(finished));
}

// Frees all that the request holds, and only then says so. No effect when it has ended already.
void EngineImpl::End(int64_t group, const absl::Status& status) {
  auto node = open_.extract(group);
  if (node.empty()) return;
  const OpenRequest& open = *node.mapped();
  scheduler_.Cancel(group);
  if (!open.started()) LeaveQueue();
  UpdateStats();
  RequestRecord record{.request = open.request, .status = status};
  record.end_to_end = config_.clock() - open.request.arrival;
  observer_->OnEnd(record);
  open.queue->Push(EndEvent{status});
}

void EngineImpl::LeaveQueue() {
  std::lock_guard lock(mutex_);
  --queued_;
}

void EngineImpl::UpdateStats() {
  const PagePool& pool = scheduler_.pool();
  totals_.running_sequences = scheduler_.running_sequences();
  totals_.waiting_requests = scheduler_.waiting_sequences();
  totals_.total_pages = pool.num_pages();
  totals_.free_pages = pool.free_pages();
  totals_.cached_pages = pool.cached_pages();
  totals_.active_pages = pool.active_pages();
  std::lock_guard lock(mutex_);
  stats_ = totals_;
}

}  // namespace

std::unique_ptr<Engine> Engine::Create(const EngineConfig& config, LanguageModel* model,
                                       const Tokenizer* tokenizer, EngineObserver* observer) {
  return std::make_unique<EngineImpl>(config, model, tokenizer, observer);
}

}  // namespace sieve
