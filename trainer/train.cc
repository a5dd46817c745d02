#include "trainer/train.h"

#include <cmath>
#include <filesystem>
#include <optional>
#include <random>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/adapter/adapter_file.h"
#include "trainer/batches.h"
#include "trainer/calibrate.h"
#include "trainer/layer_tensors.h"
#include "trainer/optimizer.h"
#include "trainer/probe.h"
#include "trainer/report/run_log.h"
#include "trainer/report/write_file.h"
#include "trainer/sequences.h"
#include "trainer/train_step.h"
#include "trainer/training_state.h"

namespace sieve {
namespace {

constexpr double kMeanDecay = 0.95;  // of the running mean of losses
constexpr int64_t kStepsBeforeJudging = 10;
constexpr int64_t kSelectionBlock = 64;  // tokens; the moments are of whole blocks

// Those that the stage computes.
Scalars TermsOf(const StageConfig& stage, const DistillLosses& losses) {
  Scalars terms = {stage.end_to_end ? Scalars::value_type("kl", losses.kl)
                                    : Scalars::value_type("output", losses.output)};
  if (stage.selector_weight > 0) terms.push_back({"selector", losses.selector});
  if (stage.task_weight > 0) terms.push_back({"task", losses.task});
  return terms;
}

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
    absl::Status status = CheckSameRun(fingerprint_, ranks_);
    if (!status.ok()) return status;
    if (leads()) {
      status = BeginOrGoOn();
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
    absl::StatusOr<RunLog> log = RunLog::Open(job_.out, job_.progress);
    if (!log.ok()) return log.status();
    log_ = *std::move(log);
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
      if (leads()) {
        StepReport report = Report(stage, *result, budget, now - step_begin);
        report.left = (now - begin) / (state_.step - first) * (stage.steps - state_.step);
        status = Tell(stage, std::move(report));
        if (!status.ok()) return status;
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
    // Only some steps may have answers, and then their loss is most of it.
    const double loss = result.losses.total - stage.task_weight * result.losses.task;
    const bool finite = std::isfinite(result.losses.total) && std::isfinite(result.gradient_norm);
    const bool judged = state_.step >= kStepsBeforeJudging;
    if (!finite || (judged && loss > run_.divergence * state_.mean_loss)) {
      return absl::AbortedError(absl::StrCat(
          finite ? "the loss diverges" : "a loss or gradient is not finite", " in ", Where(),
          ": loss ", result.losses.total, ", without that of answers ", loss, ", running mean ",
          state_.mean_loss, ", gradient norm ", result.gradient_norm, ", sequences at tokens ",
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

  // The longest of those of the calibration: the same one throughout a run.
  at::Tensor ProbeSequence() {
    Sequence longest;
    for (int64_t i = 0; i < run_.calibration_sequences; ++i) {
      for (const Sequence& row : packs_[order_.At(i)]) {
        if (row.length > longest.length) longest = row;
      }
    }
    return MakeBatch(job_.corpus->tokens(), {longest.begin}, longest.length,
                     job_.llama->options().device());
  }

  StepReport Report(const StageConfig& stage, const StepResult& result, int64_t selected_blocks,
                    absl::Duration took) const {
    StepReport report;
    report.stage = state_.stage + 1;
    report.step = report.step_of_run = state_.step;
    for (int64_t s = 0; s < state_.stage; ++s) report.step_of_run += run_.stages[s].steps;
    report.steps = stage.steps;
    report.loss = result.losses.total;
    report.terms = TermsOf(stage, result.losses);
    report.mean_loss = state_.mean_loss;
    report.gradient_norm = result.gradient_norm;
    const double schedule = ScheduleAt(state_.step - 1, stage.steps);
    report.vector_rate = schedule * stage.vector_rate;
    report.matrix_rate = schedule * stage.matrix_rate;
    report.selected_blocks = selected_blocks;
    report.seconds = absl::ToDoubleSeconds(took);
    report.tokens_per_second = static_cast<double>(result.tokens) / report.seconds;
    return report;
  }

  // With a probe every probe_steps and after the last step of a stage, which is also kept whole.
  absl::Status Tell(const StageConfig& stage, StepReport report) {
    const bool last = state_.step == stage.steps;
    if (run_.probe_steps == 0 || (!last && state_.step % run_.probe_steps != 0)) {
      return log_->Add(report);
    }
    const ProbeResult probe =
        Probe(*job_.llama, job_.adapter, state_.layers, ProbeSequence(), run_.query_chunk);
    report.branches = probe.branches;
    const absl::Status status = log_->Add(report);
    if (!status.ok() || !last) return status;
    return WriteFile(job_.out + "/probe.json", ProbeJson(job_.adapter, probe).dump() + "\n");
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
  std::optional<RunLog> log_;
  absl::Time saved_ = absl::InfinitePast();
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
