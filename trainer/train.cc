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
#include "trainer/layer_tensors.h"
#include "trainer/sequences.h"
#include "trainer/train_step.h"
#include "trainer/training_state.h"

namespace sieve {
namespace {

constexpr double kMeanDecay = 0.95;  // of the running mean of losses
constexpr int64_t kStepsBeforeJudging = 10;
constexpr int64_t kSelectionBlock = 64;  // tokens; the moments are of whole blocks
constexpr absl::Duration kProgressEvery = absl::Seconds(5);

class Training {
 public:
  Training(const TrainingJob& job, std::vector<Pack> packs)
      : job_(job),
        run_(*job.run),
        packs_(std::move(packs)),
        order_(static_cast<int64_t>(packs_.size()), run_.seed),
        ranks_(job.ranks != nullptr ? *job.ranks : alone_),
        inputs_({.llama = job.llama,
                 .adapter = &job.adapter,
                 .run = job.run,
                 .corpus = job.corpus,
                 .ranks = &ranks_,
                 .stop = job.stop}),
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
  bool leads() const { return ranks_.rank() == 0; }

  // Rank 0 begins or goes on; the others get its state.
  absl::Status Begin() {
    if (leads()) {
      const absl::Status status = BeginOrGoOn();
      if (!status.ok()) return status;
    } else {
      state_.layers = ZeroLayers(job_.adapter, job_.llama->options().device());
    }
    return ShareState(run_.stages, ranks_, &state_);
  }

  absl::Status BeginOrGoOn() {
    std::error_code error;
    std::filesystem::create_directories(job_.out, error);
    if (error) return absl::UnknownError(absl::StrCat("making ", job_.out, ": ", error.message()));
    log_.open(job_.out + "/log.jsonl", std::ios::app);
    if (std::filesystem::exists(state_dir_)) {
      state_.layers = ZeroLayers(job_.adapter, job_.llama->options().device());
      return LoadState(run_.stages, fingerprint_, state_dir_, &state_);
    }
    const std::vector<at::Tensor> sequences = CalibrationSequences();
    if (sequences.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("calibration needs documents of at least ", kSelectionBlock, " tokens"));
    }
    state_.layers = Calibrate(*job_.llama, job_.adapter, sequences,
                              {.tail_bias = run_.tail_bias, .seed = run_.seed});
    if (!run_.stages.empty()) BeginStage(run_.stages[0], &state_);
    return Save();
  }

  // Each by itself, for padding has no part in the moments.
  std::vector<at::Tensor> CalibrationSequences() {
    std::vector<at::Tensor> sequences;
    for (int64_t i = 0; i < run_.calibration_sequences; ++i) {
      for (const Sequence& row : packs_[order_.At(i)]) {
        if (row.length < kSelectionBlock) continue;
        sequences.push_back(MakeBatch(job_.corpus->tokens(), {row.begin}, row.length,
                                      job_.llama->options().device()));
      }
    }
    return sequences;
  }

  absl::Status RunStage(const StageConfig& stage) {
    const int64_t first = state_.step;
    const absl::Time begin = absl::Now();
    while (state_.step < stage.steps) {
      const absl::Time step_begin = absl::Now();
      const absl::StatusOr<StepResult> result =
          TrainStep(inputs_, PacksOf(stage), DrawBudget(stage), &state_);
      if (!result.ok()) return Locate(result.status());
      absl::Status status = Judge(stage, *result);
      if (!status.ok()) return status;
      const int64_t budget = DrawBudget(stage);
      ++state_.step;
      const absl::Time now = absl::Now();
      const absl::Duration left =
          (now - begin) / (state_.step - first) * (stage.steps - state_.step);
      if (leads()) {
        Log(*result, budget, now - step_begin);
        Show(stage, *result, now - step_begin, left);
      }
      const bool due = now - saved_ > absl::Minutes(1) * run_.checkpoint_minutes;
      if (result->stopped || due) status = Save();
      if (!status.ok()) return status;
      if (result->stopped) {
        return absl::CancelledError(
            absl::StrCat("stopped after ", Where(), "; the state is in ", state_dir_));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Locate(const absl::Status& status) const {
    return absl::Status(status.code(), absl::StrCat("in ", Where(), ": ", status.message(),
                                                    "; the last good state is in ", state_dir_));
  }

  // One of the stage's budgets, by seed, stage and step alone.
  int64_t DrawBudget(const StageConfig& stage) const {
    std::seed_seq seeds = {static_cast<uint32_t>(run_.seed), static_cast<uint32_t>(state_.stage),
                           static_cast<uint32_t>(state_.step)};
    std::mt19937_64 random(seeds);
    return stage.selected_blocks[random() % stage.selected_blocks.size()];
  }

  std::vector<Pack> PacksOf(const StageConfig& stage) {
    int64_t index = state_.step * stage.sequences;
    for (int64_t s = 0; s < state_.stage; ++s) {
      index += run_.stages[s].steps * run_.stages[s].sequences;
    }
    std::vector<Pack> packs;
    for (int64_t i = 0; i < stage.sequences; ++i) packs.push_back(packs_[order_.At(index + i)]);
    return packs;
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
          result.gradient_norm, ", sequences at tokens ",
          absl::StrJoin(
              PacksOf(stage), ", ",
              [](std::string* out, const Pack& pack) { absl::StrAppend(out, pack.front().begin); }),
          "; the last good state is in ", state_dir_, " (", saved_where_, ")"));
    }
    state_.mean_loss =
        state_.step == 0 ? loss : kMeanDecay * state_.mean_loss + (1 - kMeanDecay) * loss;
    return absl::OkStatus();
  }

  std::string Where() const {
    return absl::StrCat("stage ", state_.stage + 1, ", step ", state_.step);
  }

  void Log(const StepResult& result, int64_t selected_blocks, absl::Duration took) {
    const nlohmann::json line = {
        {"stage", state_.stage + 1},          {"step", state_.step},
        {"loss", result.losses.total},        {"output", result.losses.output},
        {"selector", result.losses.selector}, {"kl", result.losses.kl},
        {"task", result.losses.task},         {"gradient_norm", result.gradient_norm},
        {"selected_blocks", selected_blocks}, {"tokens_per_second", TokensPerSecond(result, took)}};
    log_ << line.dump() << std::endl;
  }

  static double TokensPerSecond(const StepResult& result, absl::Duration took) {
    return static_cast<double>(result.tokens) / absl::ToDoubleSeconds(took);
  }

  void Show(const StageConfig& stage, const StepResult& result, absl::Duration took,
            absl::Duration left) {
    const absl::Time now = absl::Now();
    const bool last = state_.step == stage.steps;
    if (job_.progress == nullptr || (!last && now - shown_ < kProgressEvery)) return;
    shown_ = now;
    *job_.progress
        << absl::StrFormat(
               "%s of %d: loss %.5f (output %.5f, selector %.5f, kl %.5f, task %.5f), mean %.5f, "
               "%.0f tokens/s, %s left",
               Where(), stage.steps, result.losses.total, result.losses.output,
               result.losses.selector, result.losses.kl, result.losses.task, state_.mean_loss,
               TokensPerSecond(result, took),
               absl::FormatDuration(absl::Trunc(left, absl::Seconds(1))))
        << std::endl;
  }

  absl::Status Save() {
    if (!leads()) return absl::OkStatus();
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
  const std::vector<Pack> packs_;
  SequenceOrder order_;
  Ranks alone_;
  Ranks& ranks_;
  const StepInputs inputs_;
  const std::string state_dir_;
  const std::string fingerprint_;
  TrainingState state_;
  std::ofstream log_;
  absl::Time saved_ = absl::InfinitePast(), shown_ = absl::InfinitePast();
  std::string saved_where_;
};

}  // namespace

absl::Status Train(const TrainingJob& job) {
  std::vector<Pack> packs = PackDocuments(job.corpus->document_ends(), job.run->sequence_length,
                                          job.run->shortest_document);
  if (packs.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("no document of the corpus has ", job.run->shortest_document, " tokens"));
  }
  return Training(job, std::move(packs)).Run();
}

}  // namespace sieve
