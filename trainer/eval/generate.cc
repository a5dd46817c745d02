#include "trainer/eval/generate.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/cache/page_pool.h"
#include "model/host_step_runner.h"
#include "model/step_runner.h"

namespace sieve {
namespace {

int64_t PagesFor(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

struct Sequence {
  size_t index = 0;  // of its prompt
  std::vector<int32_t> tokens;
  std::vector<int32_t> pages;
  int64_t prompt_tokens = 0;
  int64_t computed = 0;   // tokens that are in the cache
  int64_t published = 0;  // whole pages of the prompt that others may take
};

// The arrays of a step.
struct StepArrays {
  std::vector<int32_t> tokens, positions, offsets = {0}, rows, slots, prompts, tables;
};

class Generator {
 public:
  Generator(Transformer* model, const Tokenizer& tokenizer, absl::Span<const Prompt> prompts,
            const GreedyOptions& options)
      : model_(model),
        tokenizer_(tokenizer),
        prompts_(prompts),
        options_(options),
        host_runner_(model),
        runner_(model->step_runner() != nullptr ? model->step_runner() : &host_runner_),
        pool_(model->num_pages()),
        out_(prompts.size()) {
    greedy_.temperature = 0;
  }

  absl::StatusOr<std::vector<Generated>> Run();

 private:
  absl::Status Check() const;
  absl::Status Admit();
  absl::Status Step();
  int64_t ChunkOf(const Sequence& sequence, int64_t* budget) const;
  void AddChunk(const Sequence& sequence, int64_t count, int64_t stride, StepArrays* arrays) const;
  void Publish(Sequence* sequence);
  bool Append(int32_t token, Sequence* sequence);
  void Finish(const Sequence& sequence);

  // Slots share no pages, for their keys and values differ.
  PrefixHash Root(const Sequence& sequence) const {
    return {.low = static_cast<uint64_t>(prompts_[sequence.index].adapter_slot + 1)};
  }

  Transformer* const model_;
  const Tokenizer& tokenizer_;
  const absl::Span<const Prompt> prompts_;
  const GreedyOptions& options_;
  SamplingParams greedy_;
  HostStepRunner host_runner_;
  StepRunner* const runner_;
  PagePool pool_;
  size_t next_ = 0;  // prompt
  std::vector<std::unique_ptr<Sequence>> running_;
  int64_t done_ = 0;
  std::vector<Generated> out_;
};

absl::Status Generator::Check() const {
  const int64_t context = model_->config().context_length;
  for (size_t i = 0; i < prompts_.size(); ++i) {
    const int64_t tokens = static_cast<int64_t>(prompts_[i].tokens.size());
    if (tokens == 0) return absl::InvalidArgumentError(absl::StrCat("prompt ", i, " is empty"));
    if (tokens + options_.max_tokens > context) {
      return absl::InvalidArgumentError(
          absl::StrCat("prompt ", i, " has ", tokens, " tokens; with ", options_.max_tokens,
                       " to generate, the context of ", context, " is too short"));
    }
  }
  return absl::OkStatus();
}

// One prompt at a time is read, so that the next may find its pages.
absl::Status Generator::Admit() {
  const bool reading =
      !running_.empty() && running_.back()->computed < running_.back()->prompt_tokens;
  if (next_ == prompts_.size() || reading ||
      static_cast<int64_t>(running_.size()) >= options_.max_running) {
    return absl::OkStatus();
  }
  auto sequence = std::make_unique<Sequence>();
  sequence->index = next_;
  sequence->tokens = prompts_[next_].tokens;
  sequence->prompt_tokens = static_cast<int64_t>(sequence->tokens.size());
  // The last token is computed in any case, for its logits.
  const int64_t reusable = (sequence->prompt_tokens - 1) / kPageTokens * kPageTokens;
  sequence->pages =
      pool_.TakePrefix(absl::MakeConstSpan(sequence->tokens).subspan(0, reusable), Root(*sequence));
  sequence->published = static_cast<int64_t>(sequence->pages.size());
  sequence->computed = sequence->published * kPageTokens;
  const int64_t needed = PagesFor(sequence->prompt_tokens + options_.max_tokens);
  if (!pool_.Allocate(needed - sequence->published, &sequence->pages)) {
    pool_.Release(sequence->pages);
    if (!running_.empty()) return absl::OkStatus();
    return absl::ResourceExhaustedError(absl::StrCat("prompt ", next_, " needs ", needed,
                                                     " pages of the cache's ", pool_.num_pages()));
  }
  ++next_;
  running_.push_back(std::move(sequence));
  return absl::OkStatus();
}

// Prompts are cut where pages begin, and so where tiles do.
int64_t Generator::ChunkOf(const Sequence& sequence, int64_t* budget) const {
  const int64_t rest = static_cast<int64_t>(sequence.tokens.size()) - sequence.computed;
  const int64_t count = rest <= *budget ? rest : *budget / kPageTokens * kPageTokens;
  *budget -= count;
  return count;
}

void Generator::AddChunk(const Sequence& sequence, int64_t count, int64_t stride,
                         StepArrays* arrays) const {
  const auto tokens = absl::MakeConstSpan(sequence.tokens).subspan(sequence.computed, count);
  arrays->tokens.insert(arrays->tokens.end(), tokens.begin(), tokens.end());
  for (int64_t i = 0; i < count; ++i) {
    arrays->positions.push_back(static_cast<int32_t>(sequence.computed + i));
  }
  arrays->offsets.push_back(static_cast<int32_t>(arrays->tokens.size()));
  if (sequence.computed + count == static_cast<int64_t>(sequence.tokens.size())) {
    arrays->rows.push_back(arrays->offsets.back() - 1);
  }
  arrays->slots.push_back(prompts_[sequence.index].adapter_slot);
  arrays->prompts.push_back(static_cast<int32_t>(sequence.prompt_tokens));
  const size_t begin = arrays->tables.size();
  arrays->tables.resize(begin + stride, PagePool::kNoPage);
  std::copy(sequence.pages.begin(), sequence.pages.end(), arrays->tables.begin() + begin);
}

// Whole pages of the prompt; what follows it is nobody else's, and with tiles would differ.
void Generator::Publish(Sequence* sequence) {
  const int64_t whole = std::min(sequence->computed, sequence->prompt_tokens) / kPageTokens;
  for (; sequence->published < whole; ++sequence->published) {
    const int64_t p = sequence->published;
    const auto tokens = absl::MakeConstSpan(sequence->tokens).subspan(p * kPageTokens, kPageTokens);
    sequence->pages[p] =
        pool_.Publish(sequence->pages[p], p == 0 ? PagePool::kNoPage : sequence->pages[p - 1],
                      tokens, Root(*sequence));
  }
}

// Whether the text goes on.
bool Generator::Append(int32_t token, Sequence* sequence) {
  Generated& out = out_[sequence->index];
  const std::vector<int32_t>& ends = tokenizer_.vocabulary().eos;
  if (std::find(ends.begin(), ends.end(), token) != ends.end()) {
    out.ended = true;
    return false;
  }
  sequence->tokens.push_back(token);
  out.tokens.push_back(token);
  const size_t before = out.text.size();
  out.text += DecodeBytes(tokenizer_, {token}, /*include_special_tokens=*/false);
  size_t cut = std::string::npos;
  for (const std::string& stop : options_.stop_texts) {
    const size_t from = before < stop.size() ? 0 : before - stop.size() + 1;
    cut = std::min(cut, out.text.find(stop, from));
  }
  if (cut != std::string::npos) {
    out.text.resize(cut);
    out.ended = true;
    return false;
  }
  return static_cast<int64_t>(out.tokens.size()) < options_.max_tokens;
}

void Generator::Finish(const Sequence& sequence) {
  pool_.Release(sequence.pages);
  ++done_;
  if (options_.progress) options_.progress(done_);
}

absl::Status Generator::Step() {
  size_t stride = 0;
  for (const auto& sequence : running_) stride = std::max(stride, sequence->pages.size());
  StepArrays arrays;
  std::vector<int64_t> counts;
  std::vector<Draw> draws;
  int64_t budget = options_.max_step_tokens;
  for (const auto& sequence : running_) {
    counts.push_back(ChunkOf(*sequence, &budget));
    AddChunk(*sequence, counts.back(), static_cast<int64_t>(stride), &arrays);
  }
  for (size_t r = 0; r < arrays.rows.size(); ++r) {
    Draw draw;
    draw.logit_row = static_cast<int32_t>(r);
    draw.params = &greedy_;
    draws.push_back(draw);
  }
  const absl::Status submitted =
      runner_->Submit({.copies = {},
                       .batch = {.tokens = arrays.tokens,
                                 .positions = arrays.positions,
                                 .offsets = arrays.offsets,
                                 .block_tables = arrays.tables,
                                 .block_table_stride = static_cast<int64_t>(stride),
                                 .logit_rows = arrays.rows,
                                 .adapters = arrays.slots,
                                 .prompt_tokens = arrays.prompts},
                       .draws = draws});
  if (!submitted.ok()) return submitted;
  const absl::StatusOr<std::vector<DrawnToken>> drawn = runner_->Collect();
  if (!drawn.ok()) return drawn.status();
  size_t row = 0;
  std::vector<std::unique_ptr<Sequence>> go_on;
  for (size_t i = 0; i < running_.size(); ++i) {
    std::unique_ptr<Sequence> sequence = std::move(running_[i]);
    sequence->computed += counts[i];
    Publish(sequence.get());
    bool more = true;
    if (sequence->computed == static_cast<int64_t>(sequence->tokens.size())) {
      const DrawnToken& token = (*drawn)[row++];
      if (!token.status.ok()) return token.status;
      more = Append(token.token, sequence.get());
    }
    if (more) {
      go_on.push_back(std::move(sequence));
    } else {
      Finish(*sequence);
    }
  }
  running_ = std::move(go_on);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Generated>> Generator::Run() {
  absl::Status status = Check();
  while (status.ok() && (next_ < prompts_.size() || !running_.empty())) {
    status = Admit();
    if (status.ok()) status = Step();
  }
  if (!status.ok()) return status;
  return std::move(out_);
}

}  // namespace

absl::StatusOr<std::vector<Generated>> GenerateGreedy(Transformer* model,
                                                      const Tokenizer& tokenizer,
                                                      absl::Span<const Prompt> prompts,
                                                      const GreedyOptions& options) {
  return Generator(model, tokenizer, prompts, options).Run();
}

}  // namespace sieve
