#include "server/engine_core.h"

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "model/sampling/logit_math.h"

namespace sieve {
namespace {

// Whether the chunk fills a page, which others may then take over.
bool FillsAPage(const Chunk& chunk) {
  return (chunk.start + chunk.count) / kPageTokens > chunk.start / kPageTokens;
}

absl::Time StalledAt(const OpenRequest& open, absl::Duration timeout) {
  return std::max(open.behind_since, open.queue->LastPop()) + timeout;
}

}  // namespace

SchedulerConfig SchedulerConfigOf(const EngineConfig& config) {
  SchedulerConfig scheduler;
  scheduler.max_step_tokens = config.max_step_tokens;
  scheduler.max_running_sequences = config.max_running_sequences;
  scheduler.prefix_reuse = config.prefix_reuse;
  return scheduler;
}

absl::Status StatusOfException() {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        "the server has no memory for the step; try again, or with a shorter prompt");
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("the step failed: ", e.what()));
  } catch (...) {
    return absl::InternalError("the step failed");
  }
}

EngineCore::EngineCore(const EngineConfig& config, LanguageModel* model, const Tokenizer* tokenizer,
                       EngineObserver* observer, Owner* owner)
    : config_(config),
      model_(model),
      tokenizer_(tokenizer),
      observer_(observer),
      owner_(owner),
      scheduler_(SchedulerConfigOf(config), model->num_pages()) {
  PublishStats();
}

bool EngineCore::Step() {
  OpenIncoming();
  const absl::Time now = config_.clock();
  accounts_.AdvanceTo(now);
  CheckReaders(now);
  Fault(FaultPoint::kPlan);
  StepPlan plan = scheduler_.Plan(now);
  for (const int64_t group : plan.expired) {
    End(group, absl::DeadlineExceededError("the time allowed for the request is over"));
  }
  totals_.preemptions += plan.preempted.size();
  for (const SequenceId& id : plan.preempted) ++open_.at(id.group)->preemptions;
  const bool busy = !plan.chunks.empty();
  Fault(FaultPoint::kTables);
  DropBrokenTables(&plan);
  PublishStats();
  if (!plan.chunks.empty()) RunStep(plan, now);
  TellEnded();
  return busy;
}

void EngineCore::Fault(FaultPoint point) {
  if (config_.fault_for_test) config_.fault_for_test(point, &scheduler_);
}

void EngineCore::OpenIncoming() {
  for (std::unique_ptr<OpenRequest>& open : incoming_) {
    const int64_t group = scheduler_.Add(open->BeginWaiting(tokenizer_));
    open_.emplace(group, std::move(open));
  }
  incoming_.clear();
}

// Ends requests whose reader cancelled or vanished; those whose reader is behind do not run.
void EngineCore::CheckReaders(absl::Time now) {
  for (auto next = open_.begin(); next != open_.end();) {
    const auto [group, open] = std::pair(next->first, next->second.get());
    ++next;  // the check may remove this one
    CheckReader(group, open, now);
  }
}

void EngineCore::CheckReader(int64_t group, OpenRequest* open, absl::Time now) {
  if (open->queue->cancelled()) {
    End(group, GivenUpAtDeadline(open->request.arrival, open->request.deadline, now)
                   ? absl::DeadlineExceededError("the time allowed for the request is over")
                   : absl::CancelledError("the caller cancelled the request"));
    return;
  }
  const bool behind = !open->queue->HasRoom();
  if (behind != open->behind) {
    open->behind = behind;
    open->behind_since = now;
    scheduler_.SetPaused(group, behind);
  }
  if (!behind || now < StalledAt(*open, config_.stalled_reader_timeout)) return;
  End(group, absl::CancelledError(
                 absl::StrCat("the reader took nothing for ",
                              absl::FormatDuration(now - StalledAt(*open, absl::ZeroDuration())),
                              " while its queue was full")));
}

absl::Time EngineCore::NextTimeout() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [group, open] : open_) {
    next = std::min(next, open->request.deadline);
    if (open->behind) next = std::min(next, StalledAt(*open, config_.stalled_reader_timeout));
  }
  return next;
}

void EngineCore::DropBrokenTables(StepPlan* plan) {
  const std::vector<BrokenTable> broken = table_check_.Find(*plan, scheduler_);
  if (broken.empty()) return;
  std::vector<int64_t> groups;
  for (const BrokenTable& table : broken) groups.push_back(table.group);
  scheduler_.Discard(groups);
  for (const BrokenTable& table : broken) {
    End(table.group,
        absl::InternalError(absl::StrCat("the request's page table is broken: ", table.what)));
  }
  std::erase_if(plan->started, [&](const StartedGroup& s) { return !open_.contains(s.group); });
  std::erase_if(plan->chunks,
                [&](const Chunk& chunk) { return !open_.contains(chunk.sequence.group); });
}

void EngineCore::RunStep(const StepPlan& plan, absl::Time now) {
  Admission::Step step;
  step.started_tokens = Start(plan, now);
  StepRecord record = CountTokens(plan);
  const absl::Time begin = config_.clock();
  const absl::Status status = Compute(plan);
  const absl::Time done = config_.clock();
  ++totals_.steps;
  accounts_.AdvanceTo(done);
  if (!status.ok()) {
    for (const Chunk& chunk : plan.chunks) End(chunk.sequence.group, status);
    return;
  }
  totals_.prompt_tokens_computed += record.prefill_tokens;
  TakeResults(plan, done);
  record.plan = begin - now;
  record.forward = done - begin;
  record.sample = config_.clock() - done;
  step.time = done - now;
  step.prefill_tokens = record.prefill_tokens;
  owner_->OnStepDone(step);
  observer_->OnStep(record);
}

// Returns the prompt tokens of the groups that start.
int64_t EngineCore::Start(const StepPlan& plan, absl::Time now) {
  int64_t tokens = 0;
  for (const StartedGroup& started : plan.started) {
    OpenRequest& open = *open_.at(started.group);
    open.scheduled = now;
    open.cached_prompt_tokens = started.cached_tokens;
    tokens += open.prompt_tokens;
    totals_.prompt_tokens_cached += started.cached_tokens;
    totals_.prefix_queries += config_.prefix_reuse;
    totals_.prefix_hits += started.cached_tokens > 0;
    owner_->OnLeftQueue(open);
    open.queue->Push(AcceptedEvent{open.prompt_tokens, open.cached_prompt_tokens});
  }
  return tokens;
}

// The model's part. What it throws is an error of this step as well.
absl::Status EngineCore::Compute(const StepPlan& plan) try {
  const Batch batch = batch_.Build(plan, scheduler_);
  const int64_t num_logits = batch.logit_rows.size() * model_->vocabulary_size();
  Fault(FaultPoint::kLogits);
  if (logits_.size() < num_logits) logits_.resize(num_logits);
  if (!plan.copies.empty()) model_->CopyPages(plan.copies);
  return model_->Forward(batch, absl::MakeSpan(logits_).first(num_logits));
} catch (...) {
  return StatusOfException();
}

StepRecord EngineCore::CountTokens(const StepPlan& plan) const {
  StepRecord record;
  record.sequences = plan.chunks.size();
  for (const Chunk& chunk : plan.chunks) {
    const bool decodes = chunk.count == 1 && open_.at(chunk.sequence.group)->forked;
    (decodes ? record.decode_tokens : record.prefill_tokens) += chunk.count;
  }
  return record;
}

void EngineCore::TakeResults(const StepPlan& plan, absl::Time now) {
  const int64_t vocabulary = model_->vocabulary_size();
  absl::Span<const float> rows = logits_;
  for (const Chunk& chunk : plan.chunks) {
    absl::Span<const float> logits;
    if (chunk.wants_logits) {
      logits = rows.first(vocabulary);
      rows.remove_prefix(vocabulary);
    }
    // A request that failed in this very step is no longer open.
    const auto open = open_.find(chunk.sequence.group);
    if (open == open_.end()) continue;
    absl::Status status;
    try {
      status = TakeResult(chunk, open->second.get(), logits, now);
    } catch (...) {
      status = StatusOfException();
    }
    if (!status.ok() || open->second->unfinished_samples == 0) End(chunk.sequence.group, status);
  }
}

absl::Status EngineCore::TakeResult(const Chunk& chunk, OpenRequest* open,
                                    absl::Span<const float> logits, absl::Time now) {
  Fault(FaultPoint::kSample);
  // The sampler looks too, but not before others can find what was computed.
  if (chunk.wants_logits && FillsAPage(chunk) && !AllFinite(logits)) {
    return absl::InternalError("the model gave logits that are not finite");
  }
  scheduler_.Commit(chunk);
  if (!chunk.wants_logits) return absl::OkStatus();
  if (!open->forked) return FirstTokens(chunk.sequence.group, open, logits, now);
  return NextToken(chunk.sequence, open, logits, now);
}

// The prompt is computed: every sample draws its first token from the same row.
absl::Status EngineCore::FirstTokens(int64_t group, OpenRequest* open,
                                     absl::Span<const float> logits, absl::Time now) {
  open->forked = true;
  open->first_token = now;
  scheduler_.Fork(group);
  for (int32_t i = 0; i < open->request.num_samples; ++i) {
    absl::Status status = NextToken({group, i}, open, logits, now);
    if (!status.ok()) return status;
  }
  observer_->OnFirstToken(now - open->request.arrival);
  return absl::OkStatus();
}

absl::Status EngineCore::NextToken(SequenceId id, OpenRequest* open, absl::Span<const float> logits,
                                   absl::Time now) {
  EngineSample& sample = open->samples[id.sample];
  if (sample.generated() > 0) observer_->OnInterToken(now - sample.last_token());
  absl::StatusOr<EngineSample::Output> output = sample.Next(logits, now, &sampler_);
  if (!output.ok()) return output.status();
  ++totals_.generated_tokens;
  ++open->generated_tokens;
  if (output->reason) {
    FinishSample(id, open, *std::move(output));
  } else {
    scheduler_.Append(id, output->delta.token_ids.front());
    open->queue->Push(std::move(output->delta));
  }
  return absl::OkStatus();
}

void EngineCore::FinishSample(SequenceId id, OpenRequest* open, EngineSample::Output output) {
  FinishedEvent finished = MakeFinishedEvent(*open, id.sample, output, scheduler_.preemptions(id),
                                             accounts_.Get(id.group), config_.page_bytes);
  scheduler_.Finish(id);
  --open->unfinished_samples;
  open->queue->Push(std::move(output.delta));
  open->queue->Push(std::move(finished));
}

void EngineCore::EndUnstarted(const absl::Status& status) {
  OpenIncoming();
  for (auto next = open_.begin(); next != open_.end();) {
    const auto [group, open] = std::pair(next->first, next->second.get());
    ++next;  // End removes this one
    if (!open->started()) End(group, status);
  }
  TellEnded();
}

void EngineCore::EndAll(const absl::Status& status) {
  OpenIncoming();
  while (!open_.empty()) End(open_.begin()->first, status);
  TellEnded();
}

void EngineCore::Recover(const absl::Status& status) {
  for (std::unique_ptr<OpenRequest>& open : incoming_) {
    if (open != nullptr) Close(0, std::move(open), status);
  }
  incoming_.clear();
  while (!open_.empty()) {
    auto node = open_.extract(open_.begin());
    Close(node.key(), std::move(node.mapped()), status);
  }
  scheduler_.Clear();
  TellEnded();
}

// No effect when the request has ended already.
void EngineCore::End(int64_t group, const absl::Status& status) {
  auto node = open_.extract(group);
  if (node.empty()) return;
  scheduler_.Cancel(group);
  Close(group, std::move(node.mapped()), status);
}

void EngineCore::Close(int64_t group, std::unique_ptr<OpenRequest> open,
                       const absl::Status& status) {
  if (!open->started()) owner_->OnLeftQueue(*open);
  ended_.push_back({std::move(open), status, config_.clock(), accounts_.Get(group)});
  accounts_.Erase(group);
}

// All that a request held is free, and the statistics say so, before its end is told.
void EngineCore::TellEnded() {
  PublishStats();
  for (Ended& ended : ended_) {
    if (ended.open == nullptr) continue;  // told before an exception
    try {
      observer_->OnEnd(
          MakeRecord(*ended.open, ended.status, ended.time, ended.use, config_.page_bytes));
    } catch (...) {
      // Its trouble: the reader is told all the same.
    }
    ended.open->queue->Push(EndEvent{ended.status});
    ended.open = nullptr;
  }
  ended_.clear();
}

void EngineCore::PublishStats() {
  accounts_.Update(scheduler_);
  const PagePool& pool = scheduler_.pool();
  totals_.running_sequences = scheduler_.running_sequences();
  totals_.waiting_requests = scheduler_.waiting_sequences();
  totals_.waiting_by_priority = scheduler_.waiting_by_priority();
  totals_.total_pages = pool.num_pages();
  totals_.free_pages = pool.free_pages();
  totals_.cached_pages = pool.cached_pages();
  totals_.active_pages = pool.active_pages();
  totals_.attributed_pages = accounts_.total_pages();
  owner_->OnStats(totals_, scheduler_.prefill_backlog());
}

int64_t EngineCore::CountCachedPages(absl::Span<const int32_t> prompt) const {
  if (!config_.prefix_reuse || prompt.empty()) return 0;
  return scheduler_.pool().CountPrefix(prompt.first(prompt.size() - 1));
}

}  // namespace sieve
