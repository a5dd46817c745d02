#include "server/scheduler.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/base/internal/raw_logging.h"
#include "absl/strings/str_cat.h"
#include "server/generation.h"

namespace sieve {
namespace {

int64_t PagesFor(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

}  // namespace

struct Scheduler::Sequence {
  bool runs() const;  // in the next step, as far as it is up to the sequence
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
  Tenant* tenant = nullptr;
  int32_t adapter = -1;
  int64_t query_tile = 1;
  PrefixHash cache_root;
  int64_t prompt_tokens = 0;
  absl::Time arrival;
  absl::Time rank;  // arrival, moved by the priority
  absl::Time deadline;
  bool started = false;
  bool paused = false;
  std::vector<std::unique_ptr<Sequence>> samples;  // null when finished; only the first before Fork

  // How many of the first tokens others may share.
  int64_t shareable(int64_t tokens) const {
    return query_tile == 1 ? tokens : std::min(tokens, prompt_tokens);
  }
};

// Not when all that is known of it is computed or on the way: it waits for its last token.
bool Scheduler::Sequence::runs() const { return !group->paused && remaining() > 0; }

// What a step has to compute as it is planned.
struct Scheduler::Load {
  int64_t decodes = 0;
  std::vector<Sequence*> prefilling;

  void Add(Sequence* sequence) {
    if (!sequence->runs()) return;
    if (sequence->remaining() == 1) {
      ++decodes;
    } else {
      prefilling.push_back(sequence);
    }
  }
};

// What a sequence lacks to be admitted.
struct Scheduler::Lack {
  int64_t slots = 0;
  int64_t pages = 0;
};

bool Scheduler::ByRank::operator()(const Sequence* a, const Sequence* b) const {
  return std::tie(a->group->rank, a->id.group, a->id.sample) <
         std::tie(b->group->rank, b->id.group, b->id.sample);
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

int64_t Scheduler::PeakPages(int64_t prompt_tokens, int64_t max_tokens, int64_t num_samples) {
  if (max_tokens == 1) return PagesFor(prompt_tokens);  // nobody writes beyond the prompt
  const int64_t shared = prompt_tokens / kPageTokens;
  return shared + num_samples * (PagesFor(prompt_tokens + max_tokens - 1) - shared);
}

int64_t Scheduler::Add(SequenceGroup request) {
  ABSL_RAW_CHECK(!request.prompt.empty(), "a prompt has at least one token");
  const int64_t id = next_group_++;
  auto group = std::make_unique<Group>();
  group->num_samples = request.num_samples;
  group->priority = request.priority;
  group->tenant = shares_.Join(request.tenant, request.weight);
  group->adapter = request.adapter;
  group->query_tile = request.query_tile;
  group->cache_root = request.cache_root;
  group->prompt_tokens = static_cast<int64_t>(request.prompt.size());
  group->arrival = request.arrival;
  group->rank = request.arrival - request.priority * kPriorityStep;
  group->deadline = request.deadline;
  auto sequence = std::make_unique<Sequence>();
  sequence->id = {id, 0};
  sequence->group = group.get();
  sequence->tokens = std::move(request.prompt);
  sequence->slots = request.num_samples;
  EnterWaiting(sequence.get());
  group->samples.push_back(std::move(sequence));
  if (group->deadline != absl::InfiniteFuture()) deadlines_.emplace(group->deadline, id);
  groups_.emplace(id, std::move(group));
  return id;
}

StepPlan Scheduler::Plan(absl::Time now, bool may_preempt) {
  StepPlan plan;
  Expire(now, &plan);
  if (!MakeWritable(may_preempt, &plan)) return plan;
  AdmitWaiting(may_preempt, &plan);
  AddChunks(&plan);
  return plan;
}

void Scheduler::Expire(absl::Time now, StepPlan* plan) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    plan->expired.push_back(deadlines_.begin()->second);
    Cancel(plan->expired.back());
  }
}

// Gives every running sequence pages of its own for its next token: a new one, or a copy of the
// page that it shares with other samples. False when there are not enough, and nobody may be
// preempted.
bool Scheduler::MakeWritable(bool may_preempt, StepPlan* plan) {
  int64_t wanted = 0;
  for (const Sequence* sequence : running_) {
    if (sequence->runs()) wanted += WantedPages(*sequence);
  }
  if (wanted <= pool_.available_pages()) {
    for (Sequence* sequence : running_) {
      if (sequence->runs()) TryMakeWritable(sequence, plan);
    }
    return true;
  }
  plan->wants_preemption = !may_preempt;
  if (may_preempt) MakeWritableByClaim(plan);
  return may_preempt;
}

// The same where there may not be pages for all: the latest claims give up theirs, their own
// sequence's in the end.
void Scheduler::MakeWritableByClaim(StepPlan* plan) {
  std::vector<Sequence*> order = ByClaim();
  for (size_t i = 0; i < order.size() && !order[i]->group->paused; ++i) {
    while (i < order.size() && !TryMakeWritable(order[i], plan)) {
      ABSL_RAW_CHECK(running_.size() > 1, "a sequence alone fits the cache");
      Preempt(order.back(), plan);
      order.pop_back();
    }
  }
}

int64_t Scheduler::WantedPages(const Sequence& sequence) const {
  const int64_t held = sequence.pages.size();
  const int64_t first = sequence.computed / kPageTokens;
  const bool copy = first < held && pool_.IsShared(sequence.pages[first]);
  return PagesFor(sequence.tokens.size()) - held + copy;
}

bool Scheduler::TryMakeWritable(Sequence* sequence, StepPlan* plan) {
  const int64_t wanted = WantedPages(*sequence);
  if (wanted == 0) return true;
  std::vector<int32_t>& pages = sequence->pages;
  std::vector<int32_t> fresh;
  if (!pool_.Allocate(wanted, &fresh)) return false;
  if (wanted > PagesFor(sequence->tokens.size()) - pages.size()) {
    const int64_t first = sequence->computed / kPageTokens;
    plan->copies.push_back({pages[first], fresh.back()});
    pool_.Release({pages[first]});
    pages[first] = fresh.back();
    fresh.pop_back();
  }
  pages.insert(pages.end(), fresh.begin(), fresh.end());
  return true;
}

// Running sequences by their claims on pages, the strongest first; paused ones after all others.
std::vector<Scheduler::Sequence*> Scheduler::ByClaim() const {
  using Arrival = std::tuple<absl::Time, int64_t, int32_t>;  // and group, sample
  absl::flat_hash_map<std::pair<Tenant*, bool>, std::vector<Sequence*>> ranked;
  for (Sequence* sequence : running_) {
    ranked[{sequence->group->tenant, sequence->group->paused}].push_back(sequence);
  }
  std::vector<std::tuple<bool, Arrival, Sequence*>> claims;
  for (const auto& [key, sequences] : ranked) {
    std::vector<Arrival> arrivals;
    for (const Sequence* s : sequences) {
      arrivals.emplace_back(s->group->arrival, s->id.group, s->id.sample);
    }
    std::sort(arrivals.begin(), arrivals.end());
    for (size_t i = 0; i < arrivals.size(); ++i) {
      claims.emplace_back(key.second, arrivals[i], sequences[i]);
    }
  }
  std::sort(claims.begin(), claims.end());
  std::vector<Sequence*> order;
  for (const auto& claim : claims) order.push_back(std::get<Sequence*>(claim));
  return order;
}

void Scheduler::AdmitWaiting(bool may_preempt, StepPlan* plan) {
  Load load = CurrentLoad();
  while (Tenant* tenant = shares_.Next()) {
    Sequence* sequence = *waiting_.at(tenant).begin();
    if (!HasPrefillBudgetFor(*sequence, load)) break;
    if (!Admit(sequence, may_preempt, &load, plan)) break;
    shares_.Reserve(tenant, sequence->remaining());
  }
  shares_.ClearReservations();
}

Scheduler::Load Scheduler::CurrentLoad() const {
  Load load;
  for (Sequence* sequence : running_) load.Add(sequence);
  return load;
}

// Whether this step has tokens left for one more prompt. Admitting later finds more prefixes in the
// cache.
bool Scheduler::HasPrefillBudgetFor(const Sequence& sequence, const Load& load) const {
  int64_t budget = std::max<int64_t>(config_.max_step_tokens - load.decodes, 1);
  for (const Sequence* other : load.prefilling) {
    if (PrefillsBefore(other, &sequence)) budget -= other->remaining();
    if (budget <= 0) return false;
  }
  return true;
}

// The tenant with less service first; within one, rank.
bool Scheduler::PrefillsBefore(const Sequence* a, const Sequence* b) {
  const Tenant* tenant = a->group->tenant;
  if (tenant == b->group->tenant) return ByRank()(a, b);
  return FairShares::Before(tenant, b->group->tenant);
}

bool Scheduler::Admit(Sequence* sequence, bool may_preempt, Load* load, StepPlan* plan) {
  Lack lack;
  bool preempted = false;
  while (!TryAdmit(sequence, &lack)) {
    Sequence* victim = VictimFor(*sequence, lack);
    if (victim == nullptr) return false;
    if (!may_preempt) {
      plan->wants_preemption = true;
      return false;
    }
    Preempt(victim, plan);
    preempted = true;
  }
  if (preempted) {
    *load = CurrentLoad();
  } else {
    load->Add(sequence);
  }
  return true;
}

bool Scheduler::TryAdmit(Sequence* sequence, Lack* lack) {
  lack->slots = slots_in_use_ + sequence->slots - config_.max_running_sequences;
  lack->pages = 0;
  if (lack->slots > 0) return false;
  const absl::Span<const int32_t> tokens = sequence->tokens;
  std::vector<int32_t> pages;
  // The last token is computed in any case: its logits are wanted.
  if (config_.prefix_reuse) {
    const Group& group = *sequence->group;
    pages = pool_.TakePrefix(tokens.first(group.shareable(tokens.size() - 1)), group.cache_root);
  }
  const int64_t found = pages.size();
  // A page for the next tokens of every sample that runs, so that admitting does not preempt at
  // once.
  const int64_t spare =
      running_.empty()
          ? 0
          : sequence->slots + std::min<int64_t>(running_.size(), pool_.num_pages() / 8);
  const int64_t missing = PagesFor(tokens.size()) - found;
  lack->pages = missing + spare - pool_.available_pages();
  if (lack->pages > 0 || !pool_.Allocate(missing, &pages)) {
    pool_.Release(pages);
    return false;
  }
  LeaveWaiting(sequence);
  sequence->pages = std::move(pages);
  sequence->computed = found * kPageTokens;
  sequence->running = true;
  slots_in_use_ += sequence->slots;
  running_.insert(sequence);
  return true;
}

// The next to make room for `beneficiary`: the lowest in rank of those that are paused, else of
// those that have to make way for it. Null when all of them together could not make enough.
Scheduler::Sequence* Scheduler::VictimFor(const Sequence& beneficiary, const Lack& lack) const {
  Sequence* paused = nullptr;
  Sequence* lower = nullptr;
  int64_t slots = 0;
  int64_t pages = 0;  // at most: shared ones may stay
  for (auto other = running_.rbegin(); other != running_.rend(); ++other) {
    const Group& group = *(*other)->group;
    const bool makes_way = group.tenant == beneficiary.group->tenant &&
                           group.priority < beneficiary.group->priority &&
                           ByRank()(&beneficiary, *other);
    if (!group.paused && !makes_way) continue;
    Sequence*& victim = group.paused ? paused : lower;
    if (victim == nullptr) victim = *other;
    slots += (*other)->slots;
    pages += (*other)->pages.size();
  }
  // When others stop running, less is kept to spare for them.
  const int64_t spare = running_.size() + beneficiary.slots;
  if (slots < lack.slots || pages + spare < lack.pages) return nullptr;
  return paused != nullptr ? paused : lower;
}

void Scheduler::Preempt(Sequence* sequence, StepPlan* plan) {
  running_.erase(sequence);
  slots_in_use_ -= sequence->slots;
  sequence->running = false;
  pool_.Release(sequence->pages);
  sequence->pages.clear();
  sequence->computed = 0;
  ++sequence->preemptions;
  EnterWaiting(sequence);
  plan->preempted.push_back(sequence->id);
}

void Scheduler::AddChunks(StepPlan* plan) {
  std::vector<Sequence*> prefilling;
  for (Sequence* sequence : running_) {
    if (!sequence->runs()) continue;
    if (sequence->remaining() == 1) {
      AddChunk(sequence, 1, plan);
    } else {
      prefilling.push_back(sequence);
    }
  }
  std::sort(prefilling.begin(), prefilling.end(), PrefillsBefore);
  const int64_t decodes = plan->chunks.size();
  int64_t budget = std::max<int64_t>(config_.max_step_tokens - decodes, 1);
  for (Sequence* sequence : prefilling) {
    if (budget == 0) break;
    const int64_t count = WholeTiles(*sequence, std::min(sequence->remaining(), budget));
    if (count == 0) continue;
    AddChunk(sequence, count, plan);
    budget -= count;
  }
}

// As many of the next `count` tokens as do not cut a tile that the prompt fills.
int64_t Scheduler::WholeTiles(const Sequence& sequence, int64_t count) {
  const int64_t tile = sequence.group->query_tile;
  const int64_t end = sequence.computed + count;
  const int64_t tiles_end = sequence.group->prompt_tokens / tile * tile;
  return end < tiles_end ? end / tile * tile - sequence.computed : count;
}

void Scheduler::AddChunk(Sequence* sequence, int64_t count, StepPlan* plan) {
  if (!sequence->group->started) {
    sequence->group->started = true;
    plan->started.push_back({sequence->id.group, sequence->computed});
  }
  plan->chunks.push_back({sequence->id, sequence->computed, count, count == sequence->remaining()});
}

void Scheduler::Begin(const Chunk& chunk) {
  Sequence& sequence = Get(chunk.sequence);
  shares_.Charge(sequence.group->tenant, chunk.count);
  sequence.computed += chunk.count;
}

void Scheduler::Commit(const Chunk& chunk) {
  if (!config_.prefix_reuse) return;
  Sequence& sequence = Get(chunk.sequence);
  const int64_t end = sequence.group->shareable(chunk.start + chunk.count) / kPageTokens;
  for (int64_t i = chunk.start / kPageTokens; i < end; ++i) Publish(&sequence, i);
}

// The sequence's page i is full. Where another one holds the same, all samples take that one.
void Scheduler::Publish(Sequence* sequence, int64_t i) {
  const int32_t page = sequence->pages[i];
  const int32_t parent = i == 0 ? PagePool::kNoPage : sequence->pages[i - 1];
  const int32_t kept = pool_.Publish(
      page, parent, absl::MakeSpan(sequence->tokens).subspan(i * kPageTokens, kPageTokens),
      sequence->group->cache_root);
  sequence->pages[i] = kept;
  if (kept == page) return;
  for (const auto& sample : sequence->group->samples) {
    if (sample == nullptr || sample->pages.size() <= i || sample->pages[i] != page) continue;
    pool_.AddRef(kept);
    pool_.Release({page});
    sample->pages[i] = kept;
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

void Scheduler::SetToken(SequenceId id, int64_t position, int32_t token) {
  std::vector<int32_t>& tokens = Get(id).tokens;
  if (position < tokens.size()) tokens[position] = token;
}

void Scheduler::Finish(SequenceId id) {
  Group& group = *groups_.at(id.group);
  Remove(group.samples[id.sample].get());
  group.samples[id.sample] = nullptr;
  const auto is_over = [](const auto& sample) { return sample == nullptr; };
  if (std::all_of(group.samples.begin(), group.samples.end(), is_over)) Forget(id.group);
}

void Scheduler::Cancel(int64_t group_id) {
  const auto group = groups_.find(group_id);
  if (group == groups_.end()) return;
  for (const auto& sample : group->second->samples) {
    if (sample != nullptr) Remove(sample.get());
  }
  Forget(group_id);
}

void Scheduler::Discard(absl::Span<const int64_t> groups) {
  for (const int64_t id : groups) {
    const auto group = groups_.find(id);
    if (group == groups_.end()) continue;
    for (const auto& sample : group->second->samples) {
      if (sample != nullptr) sample->pages.clear();
    }
    Cancel(id);
  }
  std::vector<absl::Span<const int32_t>> tables;
  for (const Sequence* sequence : running_) tables.push_back(sequence->pages);
  pool_.Recount(tables);
}

void Scheduler::Clear() {
  running_.clear();
  waiting_.clear();
  waiting_by_priority_ = {};
  slots_in_use_ = 0;
  deadlines_.clear();
  groups_.clear();
  shares_.Reset();
  pool_.Recount({});
}

// Before the group goes.
void Scheduler::Forget(int64_t group_id) {
  const auto group = groups_.find(group_id);
  deadlines_.erase({group->second->deadline, group_id});
  shares_.Leave(group->second->tenant);
  groups_.erase(group);
}

void Scheduler::Remove(Sequence* sequence) {
  if (!sequence->running) {
    LeaveWaiting(sequence);
    return;
  }
  running_.erase(sequence);
  slots_in_use_ -= sequence->slots;
  pool_.Release(sequence->pages);
}

void Scheduler::EnterWaiting(Sequence* sequence) {
  ++waiting_by_priority_[PriorityClass(sequence->group->priority)];
  if (!sequence->group->paused) ShowWaiting(sequence);
}

void Scheduler::LeaveWaiting(Sequence* sequence) {
  --waiting_by_priority_[PriorityClass(sequence->group->priority)];
  if (!sequence->group->paused) HideWaiting(sequence);
}

void Scheduler::ShowWaiting(Sequence* sequence) {
  waiting_[sequence->group->tenant].insert(sequence);
  shares_.SetWaiting(sequence->group->tenant, true);
}

void Scheduler::HideWaiting(Sequence* sequence) {
  const auto waiting = waiting_.find(sequence->group->tenant);
  waiting->second.erase(sequence);
  if (!waiting->second.empty()) return;
  waiting_.erase(waiting);
  shares_.SetWaiting(sequence->group->tenant, false);
}

void Scheduler::SetPaused(int64_t group_id, bool paused) {
  Group& group = *groups_.at(group_id);
  if (group.paused == paused) return;
  group.paused = paused;
  for (const auto& sample : group.samples) {
    if (sample == nullptr || sample->running) continue;
    if (paused) {
      HideWaiting(sample.get());
    } else {
      ShowWaiting(sample.get());
    }
  }
}

Scheduler::Sequence& Scheduler::Get(SequenceId id) const {
  return *groups_.at(id.group)->samples[id.sample];
}

absl::Span<const int32_t> Scheduler::tokens(SequenceId id) const { return Get(id).tokens; }

absl::Span<const int32_t> Scheduler::pages(SequenceId id) const { return Get(id).pages; }

int32_t Scheduler::preemptions(SequenceId id) const { return Get(id).preemptions; }

int32_t Scheduler::adapter(SequenceId id) const { return Get(id).group->adapter; }

int64_t Scheduler::prompt_tokens(SequenceId id) const { return Get(id).group->prompt_tokens; }

std::vector<int32_t>* Scheduler::mutable_pages_for_test(SequenceId id) { return &Get(id).pages; }

void Scheduler::ForEachRunning(
    absl::FunctionRef<void(SequenceId, absl::Span<const int32_t> pages)> function) const {
  for (const Sequence* sequence : running_) function(sequence->id, sequence->pages);
}

int64_t Scheduler::waiting_sequences() const {
  return waiting_by_priority_[0] + waiting_by_priority_[1] + waiting_by_priority_[2];
}

int64_t Scheduler::prefill_backlog() const {
  int64_t tokens = 0;
  for (const Sequence* sequence : running_) {
    if (sequence->remaining() > 1) tokens += sequence->remaining();
  }
  return tokens;
}

}  // namespace sieve
