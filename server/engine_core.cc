#include "server/engine_core.h"

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

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
      host_runner_(model),
      runner_(model->step_runner() != nullptr ? model->step_runner() : &host_runner_),
      tokenizer_(tokenizer),
      observer_(observer),
      owner_(owner),
      scheduler_(SchedulerConfigOf(config), model->num_pages()) {
  PublishStats();
}

bool EngineCore::Step() {
  if (wants_preemption_) CollectAll();
  OpenIncoming();
  const absl::Time now = config_.clock();
  accounts_.AdvanceTo(now);
  CheckReaders(now);
  const bool planned = PlanAndSubmit(now);
  const bool busy = planned || !in_flight_.empty();
  if (!in_flight_.empty() && !(planned && runner_->CanSubmit())) Collect();
  TellEnded();
  return busy;
}

// False when there was nothing to plan.
bool EngineCore::PlanAndSubmit(absl::Time now) {
  Fault(FaultPoint::kPlan);
  StepPlan plan = scheduler_.Plan(now, /*may_preempt=*/in_flight_.empty());
  wants_preemption_ = plan.wants_preemption;
  for (const int64_t group : plan.expired) {
    End(group, absl::DeadlineExceededError("the time allowed for the request is over"));
  }
  totals_.preemptions += plan.preempted.size();
  for (const SequenceId& id : plan.preempted) ++open_.at(id.group)->preemptions;
  const bool busy = !plan.chunks.empty();
  Fault(FaultPoint::kTables);
  DropBrokenTables(&plan);
  PublishStats();
  if (!in_flight_.empty() && !DrawsAhead(plan)) {
    CollectAll();
    DropOver(&plan);
  }
  // Waiting for the step before is no part of planning this one.
  if (!plan.chunks.empty()) Submit(plan, std::max(now, last_done_));
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
  DropOver(plan);
}

// Whether all that the plan draws can be drawn while the step before is in flight.
bool EngineCore::DrawsAhead(const StepPlan& plan) const {
  return std::all_of(plan.chunks.begin(), plan.chunks.end(), [this](const Chunk& chunk) {
    const OpenRequest& open = *open_.at(chunk.sequence.group);
    return !chunk.wants_logits ||
           runner_->DrawsAhead(open.samples[chunk.sequence.sample].NextDraw());
  });
}

void EngineCore::DropOver(StepPlan* plan) {
  std::erase_if(plan->chunks, [this](const Chunk& chunk) { return IsOver(chunk); });
}

// Whether nobody waits for the chunk any more.
bool EngineCore::IsOver(const Chunk& chunk) const {
  const auto open = open_.find(chunk.sequence.group);
  return open == open_.end() || open->second->samples[chunk.sequence.sample].finished();
}

void EngineCore::Submit(const StepPlan& plan, absl::Time now) {
  EngineStep step;
  step.planned = now;
  step.started_tokens = Start(plan, now);
  step.record = CountTokens(plan);
  step.submitted = config_.clock();
  const absl::Status status = TrySubmit(plan, &step);
  if (!status.ok()) {
    CollectAll();  // what the step before finished is finished
    Fail(step, status);
    return;
  }
  Begin(step);
  in_flight_.push_back(std::move(step));
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

StepRecord EngineCore::CountTokens(const StepPlan& plan) const {
  StepRecord record;
  record.sequences = plan.chunks.size();
  for (const Chunk& chunk : plan.chunks) {
    const bool decodes = chunk.count == 1 && open_.at(chunk.sequence.group)->forked;
    (decodes ? record.decode_tokens : record.prefill_tokens) += chunk.count;
  }
  return record;
}

// What the runner throws is an error of this step as well.
absl::Status EngineCore::TrySubmit(const StepPlan& plan, EngineStep* step) try {
  ListDraws(plan, step);
  Fault(FaultPoint::kLogits);
  return runner_->Submit(
      {.copies = plan.copies, .batch = batch_.Build(plan, scheduler_), .draws = draws_});
} catch (...) {
  return StatusOfException();
}

void EngineCore::ListDraws(const StepPlan& plan, EngineStep* step) {
  draws_.clear();
  int32_t row = 0;
  for (const Chunk& chunk : plan.chunks) {
    const OpenRequest& open = *open_.at(chunk.sequence.group);
    EngineStep::Part part = {chunk};
    if (chunk.wants_logits) part.num_draws = open.forked ? 1 : open.request.num_samples;
    for (int32_t i = 0; i < part.num_draws; ++i) {
      draws_.push_back(open.samples[chunk.sequence.sample + i].NextDraw());
      draws_.back().logit_row = row;
    }
    row += chunk.wants_logits;
    step->parts.push_back(part);
  }
}

// The books after a step that is on its way: what it draws is a token that is not known yet.
void EngineCore::Begin(const EngineStep& step) {
  int32_t draw = 0;
  for (const auto& [chunk, num_draws] : step.parts) {
    const auto [group, first] = chunk.sequence;
    OpenRequest& open = *open_.at(group);
    scheduler_.Begin(chunk);
    if (chunk.wants_logits && !open.forked) {
      open.forked = true;
      scheduler_.Fork(group);
    }
    for (int32_t i = first; i < first + num_draws; ++i, ++draw) {
      open.samples[i].OnSubmitted();
      if (open.samples[i].MayGoOn()) scheduler_.Append({group, i}, PendingToken(draw));
    }
  }
}

void EngineCore::CollectAll() {
  while (!in_flight_.empty()) Collect();
}

void EngineCore::Collect() {
  EngineStep step = std::move(in_flight_.front());
  in_flight_.pop_front();
  absl::StatusOr<std::vector<DrawnToken>> drawn = TryCollect();
  const absl::Time done = config_.clock();
  accounts_.AdvanceTo(done);
  if (!drawn.ok()) {
    Fail(step, drawn.status());
    return;
  }
  ++totals_.steps;
  totals_.prompt_tokens_computed += step.record.prefill_tokens;
  TakeResults(step, absl::MakeSpan(*drawn), done);
  Tell(std::move(step), done);
}

absl::StatusOr<std::vector<DrawnToken>> EngineCore::TryCollect() try {
  return runner_->Collect();
} catch (...) {
  return StatusOfException();
}

void EngineCore::Fail(const EngineStep& step, const absl::Status& status) {
  ++totals_.steps;
  for (const EngineStep::Part& part : step.parts) End(part.chunk.sequence.group, status);
  if (absl::Status broken = runner_->Broken(); !broken.ok()) owner_->OnBroken(broken);
}

void EngineCore::TakeResults(const EngineStep& step, absl::Span<DrawnToken> drawn, absl::Time now) {
  for (const auto& [chunk, num_draws] : step.parts) {
    const absl::Span<DrawnToken> own = drawn.first(num_draws);
    drawn.remove_prefix(num_draws);
    if (IsOver(chunk)) continue;
    OpenRequest* open = open_.at(chunk.sequence.group).get();
    absl::Status status;
    try {
      status = TakeResult(chunk, open, own, now);
    } catch (...) {
      status = StatusOfException();
    }
    if (!status.ok() || open->unfinished_samples == 0) End(chunk.sequence.group, status);
  }
}

absl::Status EngineCore::TakeResult(const Chunk& chunk, OpenRequest* open,
                                    absl::Span<DrawnToken> drawn, absl::Time now) {
  Fault(FaultPoint::kSample);
  // Before others can find what was computed: logits that are not numbers come from no good.
  for (const DrawnToken& token : drawn) {
    if (!token.status.ok()) return token.status;
  }
  scheduler_.Commit(chunk);
  CountReads(chunk, open);
  if (drawn.empty()) return absl::OkStatus();
  const bool first = !open->has_tokens();
  if (first) open->first_token = now;
  SequenceId id = chunk.sequence;
  for (DrawnToken& token : drawn) {
    TakeToken(id, chunk.start + chunk.count, open, std::move(token), now);
    ++id.sample;
  }
  if (first) observer_->OnFirstToken(now - open->request.arrival);
  return absl::OkStatus();
}

void EngineCore::CountReads(const Chunk& chunk, OpenRequest* open) {
  const ServedAdapter* adapter = open->request.adapter.get();
  const CacheReadCounter& counter = adapter == nullptr ? config_.counter : adapter->counter;
  const CacheReads reads = counter.Count(chunk.start, chunk.count);
  open->reads += reads;
  totals_.reads += reads;
  if (adapter == nullptr) {
    totals_.bare_reads += reads;
  } else {
    adapter->reads->Add(reads);
  }
}

void EngineCore::TakeToken(SequenceId id, int64_t position, OpenRequest* open, DrawnToken drawn,
                           absl::Time now) {
  EngineSample& sample = open->samples[id.sample];
  if (sample.generated() > 0) observer_->OnInterToken(now - sample.last_token());
  EngineSample::Output output = sample.Take(std::move(drawn), now);
  ++totals_.generated_tokens;
  ++open->generated_tokens;
  if (output.reason) {
    FinishSample(id, open, std::move(output));
  } else {
    scheduler_.SetToken(id, position, output.delta.token_ids.front());
    open->queue->Push(std::move(output.delta));
  }
}

// Of two steps in flight the second counts from the end of the first on.
void EngineCore::Tell(EngineStep step, absl::Time done) {
  const absl::Time begin = std::max(step.planned, last_done_);
  step.record.plan = step.submitted - step.planned;
  step.record.forward = done - std::max(step.submitted, last_done_);
  step.record.sample = config_.clock() - done;
  last_done_ = done;
  owner_->OnStepDone({.time = done - begin,
                      .prefill_tokens = step.record.prefill_tokens,
                      .started_tokens = step.started_tokens});
  observer_->OnStep(step.record);
}

void EngineCore::FinishSample(SequenceId id, OpenRequest* open, EngineSample::Output output) {
  FinishedEvent finished = MakeFinishedEvent(*open, id.sample, output, scheduler_.preemptions(id),
                                             accounts_.Get(id.group), config_.page_bytes);
  scheduler_.Finish(id);
  --open->unfinished_samples;
  open->queue->Push(std::move(output.delta));
  open->queue->Push(std::move(finished));
}

absl::Status EngineCore::SetAdapter(int32_t slot, std::shared_ptr<const Adapter> adapter) {
  CollectAll();
  TellEnded();
  return model_->SetAdapter(slot, std::move(adapter));
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
  DropInFlight();
  TellEnded();
}

// Nobody waits for what they give.
void EngineCore::DropInFlight() {
  in_flight_.clear();
  while (runner_->in_flight() > 0) TryCollect().IgnoreError();
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
  DropInFlight();
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

int64_t EngineCore::CountCachedPages(const GenerationRequest& request) const {
  if (!config_.prefix_reuse || request.prompt.empty()) return 0;
  const absl::Span<const int32_t> prompt = request.prompt;
  return scheduler_.pool().CountPrefix(
      prompt.first(prompt.size() - 1),
      request.adapter == nullptr ? PrefixHash() : request.adapter->cache_root);
}

}  // namespace sieve
