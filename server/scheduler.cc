#include "server/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/base/internal/raw_logging.h"
#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

int64_t PagesFor(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

}  // namespace

struct Scheduler::Sequence {
  SequenceId id;
  Group* group = nullptr;
  std::vector<int32_t> tokens;
  std::vector<int32_t> pages;
  int64_t computed = 0;  // tokens whose keys and values are in the pages
  int64_t slots = 1;     // of max_running_sequences: one for each sample that it stands for
  int32_t preemptions = 0;
  bool running = false;

  int64_t remaining() const { return static_cast<int64_t>(tokens.size()) - computed; }
};

struct Scheduler::Group {
  int32_t num_samples = 1;
  int32_t priority = 0;
  absl::Time deadline;
  bool started = false;
  bool paused = false;
  std::vector<std::unique_ptr<Sequence>> samples;  // null when finished; only the first before Fork
};

bool Scheduler::ByRank::operator()(const Sequence* a, const Sequence* b) const {
  return std::make_tuple(-a->group->priority, a->id.group, a->id.sample) <
         std::make_tuple(-b->group->priority, b->id.group, b->id.sample);
}

Scheduler::Scheduler(const SchedulerConfig& config, int64_t num_pages)
    : config_(config), pool_(num_pages) {}

Scheduler::~Scheduler() = default;

absl::Status Scheduler::CheckFits(const SchedulerConfig& config, int64_t num_pages,
                                  int64_t prompt_tokens, int64_t max_tokens, int64_t num_samples) {
  // The last token that is generated is never computed.
  const int64_t pages = PagesFor(prompt_tokens + max_tokens - 1);
  if (pages > num_pages) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the request may need ", pages, " cache pages of ", kPageTokens, " tokens (", prompt_tokens,
        " prompt tokens, at most ", max_tokens, " generated), the cache has ", num_pages));
  }
  if (num_samples > config.max_running_sequences) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the request asks for ", num_samples, " samples, at most ",
                     config.max_running_sequences, " run at a time"));
  }
  return absl::OkStatus();
}

int64_t Scheduler::Add(SequenceGroup request) {
  ABSL_RAW_CHECK(!request.prompt.empty(), "a prompt has at least one token");
  const int64_t id = next_group_++;
  auto group = std::make_unique<Group>();
  group->num_samples = request.num_samples;
  group->priority = request.priority;
  group->deadline = request.deadline;
  auto sequence = std::make_unique<Sequence>();
  sequence->id = {id, 0};
  sequence->group = group.get();
  sequence->tokens = std::move(request.prompt);
  sequence->slots = request.num_samples;
  waiting_.insert(sequence.get());
  group->samples.push_back(std::move(sequence));
  groups_.emplace(id, std::move(group));
  return id;
}

StepPlan Scheduler::Plan(absl::Time now) {
  StepPlan plan;
  Expire(now, &plan);
  const std::vector<Sequence*> by_rank(running_.begin(), running_.end());
  for (Sequence* sequence : by_rank) {
    if (sequence->running && !sequence->group->paused) EnsureWritable(sequence, &plan);
  }
  AdmitWaiting(&plan);
  AddChunks(&plan);
  return plan;
}

void Scheduler::Expire(absl::Time now, StepPlan* plan) {
  for (const auto& [id, group] : groups_) {
    if (group->deadline <= now) plan->expired.push_back(id);
  }
  for (const int64_t id : plan->expired) Cancel(id);
}

// Gives a running sequence pages of its own for its next token: a new one, or a copy of the page
// that it shares with other samples. False when it had to give up its own pages instead.
bool Scheduler::EnsureWritable(Sequence* sequence, StepPlan* plan) {
  const auto lower = [&](const Sequence& other) { return ByRank()(sequence, &other); };
  std::vector<int32_t>& pages = sequence->pages;
  while (true) {
    const int64_t missing = PagesFor(sequence->tokens.size()) - pages.size();
    const int64_t first = sequence->computed / kPageTokens;
    const bool copy = first < pages.size() && pool_.IsShared(pages[first]);
    if (missing == 0 && !copy) return true;
    std::vector<int32_t> fresh;
    if (pool_.Allocate(missing + copy, &fresh)) {
      if (copy) {
        plan->copies.push_back({pages[first], fresh.back()});
        pool_.Release({pages[first]});
        pages[first] = fresh.back();
        fresh.pop_back();
      }
      pages.insert(pages.end(), fresh.begin(), fresh.end());
      return true;
    }
    if (!PreemptLowest(*sequence, lower, plan)) {
      ABSL_RAW_CHECK(running_.size() > 1, "a sequence alone fits the cache");
      Preempt(sequence, plan);
      return false;
    }
  }
}

void Scheduler::AdmitWaiting(StepPlan* plan) {
  for (auto next = waiting_.begin(); next != waiting_.end();) {
    Sequence* sequence = *next;
    if (sequence->group->paused) {
      ++next;
      continue;
    }
    if (!HasPrefillBudgetFor(*sequence)) return;
    const auto lower = [&](const Sequence& other) {
      return other.group->priority < sequence->group->priority;
    };
    while (!TryAdmit(sequence)) {
      if (!PreemptLowest(*sequence, lower, plan)) return;
    }
    next = waiting_.begin();
  }
}

// Whether this step has tokens left for one more prompt. Admitting later finds more prefixes in the
// cache.
bool Scheduler::HasPrefillBudgetFor(const Sequence& sequence) const {
  int64_t decodes = 0;
  int64_t prefill = 0;
  for (const Sequence* other : running_) {
    if (other->group->paused) continue;
    if (other->remaining() == 1) {
      ++decodes;
    } else if (ByRank()(other, &sequence)) {
      prefill += other->remaining();
    }
  }
  return prefill < std::max<int64_t>(config_.max_step_tokens - decodes, 1);
}

bool Scheduler::TryAdmit(Sequence* sequence) {
  if (slots_in_use_ + sequence->slots > config_.max_running_sequences) return false;
  const absl::Span<const int32_t> tokens = sequence->tokens;
  std::vector<int32_t> pages;
  // The last token is computed in any case: its logits are wanted.
  if (config_.prefix_reuse) pages = pool_.TakePrefix(tokens.first(tokens.size() - 1));
  const int64_t found = pages.size();
  // A page for the next tokens of every sample that runs, so that admitting does not preempt at
  // once.
  const int64_t spare =
      running_.empty()
          ? 0
          : sequence->slots + std::min<int64_t>(running_.size(), pool_.num_pages() / 8);
  const int64_t missing = PagesFor(tokens.size()) - found;
  if (pool_.available_pages() < missing + spare || !pool_.Allocate(missing, &pages)) {
    pool_.Release(pages);
    return false;
  }
  sequence->pages = std::move(pages);
  sequence->computed = found * kPageTokens;
  sequence->running = true;
  slots_in_use_ += sequence->slots;
  waiting_.erase(sequence);
  running_.insert(sequence);
  return true;
}

// Takes the pages of the lowest in rank among the paused ones or else among those that
// `may_preempt`. False when there is none.
template <typename Predicate>
bool Scheduler::PreemptLowest(const Sequence& beneficiary, Predicate may_preempt, StepPlan* plan) {
  Sequence* victim = nullptr;
  for (auto other = running_.rbegin(); other != running_.rend(); ++other) {
    if (*other == &beneficiary) continue;
    if ((*other)->group->paused) {
      victim = *other;
      break;
    }
    if (victim == nullptr && may_preempt(**other)) victim = *other;
  }
  if (victim == nullptr) return false;
  Preempt(victim, plan);
  return true;
}

void Scheduler::Preempt(Sequence* sequence, StepPlan* plan) {
  running_.erase(sequence);
  waiting_.insert(sequence);
  slots_in_use_ -= sequence->slots;
  sequence->running = false;
  pool_.Release(sequence->pages);
  sequence->pages.clear();
  sequence->computed = 0;
  ++sequence->preemptions;
  plan->preempted.push_back(sequence->id);
}

void Scheduler::AddChunks(StepPlan* plan) {
  for (Sequence* sequence : running_) {
    if (!sequence->group->paused && sequence->remaining() == 1) AddChunk(sequence, 1, plan);
  }
  const int64_t decodes = plan->chunks.size();
  int64_t budget = std::max<int64_t>(config_.max_step_tokens - decodes, 1);
  for (Sequence* sequence : running_) {
    if (budget == 0) break;
    if (sequence->group->paused || sequence->remaining() <= 1) continue;
    const int64_t count = std::min(sequence->remaining(), budget);
    AddChunk(sequence, count, plan);
    budget -= count;
  }
}

void Scheduler::AddChunk(Sequence* sequence, int64_t count, StepPlan* plan) {
  if (!sequence->group->started) {
    sequence->group->started = true;
    plan->started.push_back({sequence->id.group, sequence->computed});
  }
  plan->chunks.push_back({sequence->id, sequence->computed, count, count == sequence->remaining()});
}

void Scheduler::Commit(const Chunk& chunk) {
  Sequence& sequence = Get(chunk.sequence);
  const int64_t full_before = sequence.computed / kPageTokens;
  sequence.computed += chunk.count;
  if (!config_.prefix_reuse) return;
  for (int64_t i = full_before; i < sequence.computed / kPageTokens; ++i) {
    const int32_t parent = i == 0 ? PagePool::kNoPage : sequence.pages[i - 1];
    sequence.pages[i] =
        pool_.Publish(sequence.pages[i], parent,
                      absl::MakeSpan(sequence.tokens).subspan(i * kPageTokens, kPageTokens));
  }
}

void Scheduler::Fork(int64_t group_id) {
  Group& group = *groups_.at(group_id);
  Sequence& first = *group.samples[0];
  first.slots = 1;
  for (int32_t i = 1; i < group.num_samples; ++i) {
    auto sample = std::make_unique<Sequence>(first);
    sample->id.sample = i;
    for (const int32_t page : sample->pages) pool_.AddRef(page);
    running_.insert(sample.get());
    group.samples.push_back(std::move(sample));
  }
}

void Scheduler::Append(SequenceId id, int32_t token) { Get(id).tokens.push_back(token); }

void Scheduler::Finish(SequenceId id) {
  Group& group = *groups_.at(id.group);
  Remove(group.samples[id.sample].get());
  group.samples[id.sample] = nullptr;
  const auto is_over = [](const auto& sample) { return sample == nullptr; };
  if (std::all_of(group.samples.begin(), group.samples.end(), is_over)) groups_.erase(id.group);
}

void Scheduler::Cancel(int64_t group_id) {
  const auto group = groups_.find(group_id);
  if (group == groups_.end()) return;
  for (const auto& sample : group->second->samples) {
    if (sample != nullptr) Remove(sample.get());
  }
  groups_.erase(group);
}

void Scheduler::Remove(Sequence* sequence) {
  if (!sequence->running) {
    waiting_.erase(sequence);
    return;
  }
  running_.erase(sequence);
  slots_in_use_ -= sequence->slots;
  pool_.Release(sequence->pages);
}

void Scheduler::SetPaused(int64_t group, bool paused) { groups_.at(group)->paused = paused; }

Scheduler::Sequence& Scheduler::Get(SequenceId id) const {
  return *groups_.at(id.group)->samples[id.sample];
}

absl::Span<const int32_t> Scheduler::tokens(SequenceId id) const { return Get(id).tokens; }

absl::Span<const int32_t> Scheduler::pages(SequenceId id) const { return Get(id).pages; }

int32_t Scheduler::preemptions(SequenceId id) const { return Get(id).preemptions; }

}  // namespace sieve
