#include "trainer/train.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/adapter/adapter_file.h"
#include "trainer/batches.h"
#include "trainer/calibrate.h"
#include "trainer/distill.h"
#include "trainer/layer_tensors.h"
#include "trainer/optimizer.h"
#include "trainer/sequences.h"
#include "trainer/training_state.h"

namespace sieve {
namespace {

constexpr double kMeanDecay = 0.95;  // of the running mean of losses
constexpr int64_t kStepsBeforeJudging = 10;
constexpr absl::Duration kProgressEvery = absl::Seconds(5);

struct StepResult {
  DistillLosses losses;
  double gradient_norm = 0;
  int64_t selected_blocks = 0;
  std::vector<int64_t> begins;  // of its sequences in the corpus
};

class Training {
 public:
  Training(const TrainingJob& job, std::vector<int64_t> begins)
      : job_(job),
        run_(*job.run),
        begins_(std::move(begins)),
        order_(static_cast<int64_t>(begins_.size()), run_.seed),
        state_dir_(job.out + "/state"),
        fingerprint_(absl::StrCat(run_.text, job.adapter.base_digest, job.corpus->digest())) {}

  absl::Status Run() {
    absl::Status status = Begin();
    if (!status.ok()) return status;
    while (state_.stage < static_cast<int64_t>(run_.stages.size())) {
      status = RunStage(run_.stages[state_.stage]);
      if (!status.ok()) return status;
      ++state_.stage;
      state_.step = 0;
      if (state_.stage < static_cast<int64_t>(run_.stages.size())) {
        BeginStage(run_.stages[state_.stage], &state_);
      }
      status = Save();
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Begin() {
    std::error_code error;
    std::filesystem::create_directories(job_.out, error);
    if (error) return absl::UnknownError(absl::StrCat("making ", job_.out, ": ", error.message()));
    log_.open(job_.out + "/log.jsonl", std::ios::app);
    if (std::filesystem::exists(state_dir_)) {
      state_.layers = ZeroLayers(job_.adapter, job_.llama->options().device());
      return LoadState(run_.stages, fingerprint_, state_dir_, &state_);
    }
    state_.layers = Calibrate(*job_.llama, job_.adapter, CalibrationSequences(),
                              {.tail_bias = run_.tail_bias, .seed = run_.seed});
    if (!run_.stages.empty()) BeginStage(run_.stages[0], &state_);
    return Save();
  }

  std::vector<at::Tensor> CalibrationSequences() {
    std::vector<at::Tensor> sequences;
    for (int64_t i = 0; i < run_.calibration_sequences; ++i) {
      sequences.push_back(Batch({begins_[order_.At(i)]}));
    }
    return sequences;
  }

  at::Tensor Batch(const std::vector<int64_t>& begins) const {
    return MakeBatch(job_.corpus->tokens(), begins, run_.sequence_length,
                     job_.llama->options().device());
  }

  absl::Status RunStage(const StageConfig& stage) {
    const int64_t first = state_.step;
    const absl::Time begin = absl::Now();
    while (state_.step < stage.steps) {
      const absl::Time step_begin = absl::Now();
      const StepResult result = Step(stage);
      absl::Status status = Judge(stage, result);
      if (!status.ok()) return status;
      ++state_.step;
      const absl::Time now = absl::Now();
      Log(stage, result, now - step_begin);
      const absl::Duration left =
          (now - begin) / (state_.step - first) * (stage.steps - state_.step);
      Show(stage, result, now - step_begin, left);
      const bool stopped = job_.stop != nullptr && job_.stop->load();
      if (stopped || now - saved_ > absl::Minutes(1) * run_.checkpoint_minutes) status = Save();
      if (!status.ok()) return status;
      if (stopped) {
        return absl::CancelledError(
            absl::StrCat("stopped after ", Where(), "; the state is in ", state_dir_));
      }
    }
    return absl::OkStatus();
  }

  StepResult Step(const StageConfig& stage) {
    StepResult result;
    result.selected_blocks = DrawBudget(stage);
    result.begins = SequencesOf(stage);
    const int64_t parts = stage.sequences / stage.sequences_at_once;
    const DistillOptions options = {.selected_blocks = result.selected_blocks,
                                    .query_chunk = run_.query_chunk,
                                    .logit_rows = run_.logit_rows,
                                    .selector_weight = stage.selector_weight,
                                    .weight = 1.0 / static_cast<double>(parts)};
    for (int64_t part = 0; part < parts; ++part) {
      const auto begin = result.begins.begin() + part * stage.sequences_at_once;
      const at::Tensor tokens = Batch({begin, begin + stage.sequences_at_once});
      const DistillLosses losses =
          stage.end_to_end
              ? DistillEndToEnd(*job_.llama, job_.adapter, state_.layers, tokens, options)
              : DistillLayers(*job_.llama, job_.adapter, state_.layers, tokens, options);
      result.losses.total += losses.total * options.weight;
      result.losses.output += losses.output * options.weight;
      result.losses.selector += losses.selector * options.weight;
      result.losses.kl += losses.kl * options.weight;
    }
    result.gradient_norm =
        AdamWStep({.weight_decay = stage.weight_decay, .clip = stage.clip}, state_.step,
                  ScheduleAt(state_.step, stage.steps), &state_.parameters);
    return result;
  }

  // One of the stage's budgets, by seed, stage and step alone.
  int64_t DrawBudget(const StageConfig& stage) const {
    std::seed_seq seeds = {static_cast<uint32_t>(run_.seed), static_cast<uint32_t>(state_.stage),
                           static_cast<uint32_t>(state_.step)};
    std::mt19937_64 random(seeds);
    return stage.selected_blocks[random() % stage.selected_blocks.size()];
  }

  std::vector<int64_t> SequencesOf(const StageConfig& stage) {
    int64_t index = state_.step * stage.sequences;
    for (int64_t s = 0; s < state_.stage; ++s) {
      index += run_.stages[s].steps * run_.stages[s].sequences;
    }
    std::vector<int64_t> begins;
    for (int64_t i = 0; i < stage.sequences; ++i) begins.push_back(begins_[order_.At(index + i)]);
    return begins;
  }

  // ABORTED when training cannot go on from here.
  absl::Status Judge(const StageConfig& stage, const StepResult& result) {
    const double loss = result.losses.total;
    const bool finite = std::isfinite(loss) && std::isfinite(result.gradient_norm);
    const bool judged = state_.step >= kStepsBeforeJudging;
    if (!finite || (judged && loss > run_.divergence * state_.mean_loss)) {
      return absl::AbortedError(absl::StrCat(
          finite ? "the loss diverges" : "a loss or gradient is not finite", " in ", Where(),
          ": loss ", loss, ", running mean ", state_.mean_loss, ", gradient norm ",
          result.gradient_norm, ", sequences at tokens ", absl::StrJoin(result.begins, ", "),
          "; the last good state is in ", state_dir_, " (", saved_where_, ")"));
    }
    state_.mean_loss =
        state_.step == 0 ? loss : kMeanDecay * state_.mean_loss + (1 - kMeanDecay) * loss;
    return absl::OkStatus();
  }

  std::string Where() const {
    return absl::StrCat("stage ", state_.stage + 1, ", step ", state_.step);
  }

  void Log(const StageConfig& stage, const StepResult& result, absl::Duration took) {
    const nlohmann::json line = {{"stage", state_.stage + 1},
                                 {"step", state_.step},
                                 {"loss", result.losses.total},
                                 {"output", result.losses.output},
                                 {"selector", result.losses.selector},
                                 {"kl", result.losses.kl},
                                 {"gradient_norm", result.gradient_norm},
                                 {"selected_blocks", result.selected_blocks},
                                 {"tokens_per_second", TokensPerSecond(stage, took)}};
    log_ << line.dump() << std::endl;
  }

  double TokensPerSecond(const StageConfig& stage, absl::Duration took) const {
    return static_cast<double>(stage.sequences * run_.sequence_length) /
           absl::ToDoubleSeconds(took);
  }

  void Show(const StageConfig& stage, const StepResult& result, absl::Duration took,
            absl::Duration left) {
    const absl::Time now = absl::Now();
    const bool last = state_.step == stage.steps;
    if (job_.progress == nullptr || (!last && now - shown_ < kProgressEvery)) return;
    shown_ = now;
    *job_.progress << absl::StrFormat(
                          "%s of %d: loss %.5f (output %.5f, selector %.5f, kl %.5f), mean %.5f, "
                          "%.0f tokens/s, %s left",
                          Where(), stage.steps, result.losses.total, result.losses.output,
                          result.losses.selector, result.losses.kl, state_.mean_loss,
                          TokensPerSecond(stage, took),
                          absl::FormatDuration(absl::Trunc(left, absl::Seconds(1))))
                   << std::endl;
  }

  absl::Status Save() {
    absl::Status status = SaveState(state_, fingerprint_, state_dir_);
    if (status.ok()) {
      status = WriteAdapter(StoreLayers(job_.adapter, state_.layers), job_.out + "/adapter",
                            DType::kF32);
    }
    saved_ = absl::Now();
    saved_where_ = Where();
    return status;
  }

  const TrainingJob& job_;
  const RunConfig& run_;
  const std::vector<int64_t> begins_;
  SequenceOrder order_;
  const std::string state_dir_;
  const std::string fingerprint_;
  TrainingState state_;
  std::ofstream log_;
  absl::Time saved_ = absl::InfinitePast(), shown_ = absl::InfinitePast();
  std::string saved_where_;
};

}  // namespace

absl::Status Train(const TrainingJob& job) {
  std::vector<int64_t> begins = CutSequences(job.corpus->document_ends(), job.run->sequence_length);
  if (begins.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("no document of the corpus has ", job.run->sequence_length, " tokens"));
  }
  return Training(job, std::move(begins)).Run();
}

}  // namespace sieve
