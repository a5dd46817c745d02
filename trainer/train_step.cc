#include "trainer/train_step.h"

#include "trainer/batches.h"
#include "trainer/optimizer.h"
#include "trainer/sparse_attention.h"

namespace sieve {
namespace {

// What a step's means are over.
struct Counts {
  int64_t tokens = 0;
  int64_t answers = 0;
  int64_t choices = 0;  // queries with blocks to choose from, which the selector's loss is of
};

Counts CountsOf(const StepInputs& in, absl::Span<const Pack> packs) {
  Counts counts;
  for (const Pack& pack : packs) {
    counts.tokens += TokensOf(pack);
    counts.answers += AnswersOf(in.corpus->answers(), pack);
    for (const Sequence& row : pack) {
      counts.choices += QueriesWithCandidates(*in.adapter, row.length);
    }
  }
  return counts;
}

double Share(int64_t own, int64_t step) {
  return own > 0 ? static_cast<double>(own) / static_cast<double>(step) : 0;
}

// Adds the gradients of a batch and its share of the losses.
void DistillBatch(const StepInputs& in, const StageConfig& stage, const Pack& rows,
                  const Counts& step, int64_t selected_blocks, const TrainingState& state,
                  DistillLosses* losses) {
  const Counts own = CountsOf(in, {rows});
  const TokenBatch batch =
      MakeTokenBatch(in.corpus->tokens(), in.corpus->answers(), rows, in.llama->options().device());
  const double share = Share(own.tokens, step.tokens);
  const double answers = Share(own.answers, step.answers);
  const double choices = Share(own.choices, step.choices);
  const DistillOptions options = {.selected_blocks = selected_blocks,
                                  .query_chunk = in.run->query_chunk,
                                  .logit_rows = in.run->logit_rows,
                                  .selector_weight = stage.selector_weight * choices / share,
                                  .weight = share,
                                  .task_weight = stage.task_weight * answers / share,
                                  .real = batch.real,
                                  .answers = batch.answers};
  const DistillLosses more =
      stage.end_to_end
          ? DistillEndToEnd(*in.llama, *in.adapter, state.layers, batch.tokens, options)
          : DistillLayers(*in.llama, *in.adapter, state.layers, batch.tokens, options);
  losses->total += more.total * share;
  losses->output += more.output * share;
  losses->selector += more.selector * choices;
  losses->kl += more.kl * share;
  losses->task += more.task * answers;
}

// In double, for they are few.
absl::Status SumLosses(const StepInputs& in, StepResult* result) {
  const bool stop = in.stop != nullptr && in.stop->load();
  DistillLosses& losses = result->losses;
  double values[] = {losses.total, losses.output, losses.selector,
                     losses.kl,    losses.task,   stop ? 1.0 : 0.0};
  const at::Tensor sums = at::from_blob(values, {std::ssize(values)}, at::kDouble);
  const absl::Status status = in.ranks->Sum(sums);
  if (!status.ok()) return status;
  losses = {values[0], values[1], values[2], values[3], values[4]};
  result->stopped = values[5] > 0;
  return absl::OkStatus();
}

// As one buffer, with a flag for each parameter: what no rank has a gradient for stays without.
absl::Status SumGradients(Ranks& ranks, std::vector<Parameter>* parameters) {
  if (ranks.size() == 1 || parameters->empty()) return absl::OkStatus();
  const c10::NoGradGuard no_gradients;
  std::vector<at::Tensor> parts;
  for (const Parameter& p : *parameters) {
    const at::Tensor& gradient = p.value.grad();
    parts.push_back(gradient.defined() ? gradient.flatten() : at::zeros_like(p.value).flatten());
    parts.push_back(at::full({1}, gradient.defined() ? 1.0 : 0.0, parts.back().options()));
  }
  const at::Tensor buffer = at::cat(parts);
  const absl::Status status = ranks.Sum(buffer);
  if (!status.ok()) return status;
  int64_t at = 0;
  for (Parameter& p : *parameters) {
    const int64_t size = p.value.numel();
    const bool any = buffer[at + size].item<float>() > 0;
    p.value.mutable_grad() = any ? buffer.narrow(0, at, size).view_as(p.value) : at::Tensor();
    at += size + 1;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<StepResult> TrainStep(const StepInputs& in, absl::Span<const Pack> packs,
                                     int64_t selected_blocks, TrainingState* state) {
  const StageConfig& stage = in.run->stages[state->stage];
  const Counts step = CountsOf(in, packs);
  StepResult result;
  result.tokens = step.tokens;
  const size_t part_size = stage.sequences_at_once;
  for (size_t part = in.ranks->rank(); part * part_size < packs.size(); part += in.ranks->size()) {
    const auto taken = packs.subspan(part * part_size, part_size);
    for (const Pack& rows : BatchesOf(taken, in.run->sequence_length)) {
      DistillBatch(in, stage, rows, step, selected_blocks, *state, &result.losses);
    }
  }
  absl::Status status = SumLosses(in, &result);
  if (status.ok()) status = SumGradients(*in.ranks, &state->parameters);
  if (!status.ok()) return status;
  result.gradient_norm =
      AdamWStep({.weight_decay = stage.weight_decay, .clip = stage.clip}, state->step,
                ScheduleAt(state->step, stage.steps), &state->parameters);
  return result;
}

}  // namespace sieve
