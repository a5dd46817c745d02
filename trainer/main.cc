// sieve_trainer: distils a sparse-attention adapter onto a frozen Llama, and measures adapters.

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "model/adapter/parameter_report.h"
#include "model/checkpoint/checkpoint.h"
#include "trainer/backend.h"
#include "trainer/base_model.h"
#include "trainer/connect_ranks.h"
#include "trainer/eval/command.h"
#include "trainer/eval/write_results.h"
#include "trainer/llama.h"
#include "trainer/rank_environment.h"
#include "trainer/ranks.h"
#include "trainer/report/run_report.h"
#include "trainer/run_config.h"
#include "trainer/study/study.h"
#include "trainer/token_file.h"
#include "trainer/train.h"
#include "trainer/without_exceptions.h"

ABSL_FLAG(std::string, model, "",
          "Checkpoint: a .gguf file, or a folder with config.json, *.safetensors and "
          "tokenizer.json.");
ABSL_FLAG(
    std::string, device, "cpu",
    "What computes: cpu (float32) or cuda (bfloat16); for eval through the engine also auto.");
ABSL_FLAG(std::string, config, "", "train: the run, a JSON file as trainer/configs/smollm2.json.");
ABSL_FLAG(std::string, data, ".", "train, study: folder in which the texts are.");
ABSL_FLAG(std::string, out, "",
          "train: folder of the adapter, the state and the log; study: of the results. What was "
          "stopped goes on when it is given again. report: of a run.");
ABSL_FLAG(std::vector<std::string>, grid, {},
          "study: the studies, JSON files as trainer/studies/combiner.json, separated by commas.");
ABSL_FLAG(std::string, cache, "", "Folder of tokenised texts; empty: OUT/tokens, or for eval ./.");
ABSL_FLAG(std::string, task, sieve::EvalConfig().task,
          "eval: perplexity, retrieval, gsm8k or generation; docs/evaluation.md describes them.");
ABSL_FLAG(std::vector<std::string>, adapters, {},
          "eval: what is compared with dense attention: NAME=FOLDER,... or FOLDER,...");
ABSL_FLAG(std::vector<std::string>, selected_blocks, {},
          "eval: budgets of every adapter, separated by commas; empty: each adapter's own.");
ABSL_FLAG(std::vector<std::string>, text, {},
          "eval: files, as they are or gzip-compressed: of texts, or for retrieval of books that "
          "pass keys are hidden in, for gsm8k of problems, for generation of prompts.");
ABSL_FLAG(std::string, through, sieve::EvalConfig().through,
          "eval: engine, which is the server's forward pass, or for perplexity torch, LibTorch's.");
ABSL_FLAG(std::string, kv_type, "", "eval: type of the engine's cache, as the server's.");
ABSL_FLAG(int32_t, threads, 0, "eval: threads of the engine; 0: one a core.");
ABSL_FLAG(int64_t, kv_cache_mb, sieve::EvalConfig().cache_mb,
          "eval: MiB of cache for generations; one that needs more has it alone.");
ABSL_FLAG(int64_t, max_running, sieve::EvalConfig().max_running,
          "eval: texts that are generated together.");
ABSL_FLAG(int64_t, max_step_tokens, sieve::EvalConfig().max_step_tokens,
          "eval: most tokens in one step of a generation.");
ABSL_FLAG(int64_t, window, sieve::EvalConfig().window, "eval: tokens of a window.");
ABSL_FLAG(int64_t, stride, 0, "eval: tokens from one window to the next; 0: a window.");
ABSL_FLAG(int64_t, max_windows, 0, "eval: the first windows only; 0: all.");
ABSL_FLAG(int64_t, bucket, 0, "eval: also count by position, in ranges of so many; 0: not.");
ABSL_FLAG(int64_t, windows_at_once, 1, "eval through torch: windows in memory at a time.");
ABSL_FLAG(std::vector<std::string>, lines, {}, "eval retrieval: files of LongEval's lines task.");
ABSL_FLAG(std::vector<std::string>, lengths, {},
          "eval retrieval: tokens of prompts with pass keys.");
ABSL_FLAG(int64_t, cases, sieve::EvalConfig().cases, "eval retrieval: pass keys of each length.");
ABSL_FLAG(std::string, shots_from, "", "eval gsm8k: the file whose first problems are the shots.");
ABSL_FLAG(int64_t, shots, sieve::EvalConfig().shots, "eval gsm8k: worked examples in the prompt.");
ABSL_FLAG(int64_t, limit, 0, "eval: the first lines of a file of JSON lines only; 0: all.");
ABSL_FLAG(int64_t, max_tokens, sieve::EvalConfig().max_tokens, "eval: tokens of a generation.");
ABSL_FLAG(uint64_t, seed, 1, "eval: of pass keys and of the intervals.");
ABSL_FLAG(std::string, json, "", "eval: file of the results; empty: they are printed.");
ABSL_FLAG(std::string, table, "",
          "eval: file of the results as Markdown tables; empty: with --json they are printed.");

namespace sieve {
namespace {

constexpr char kUsage[] = R"(distils a sparse-attention adapter, and measures adapters.

  sieve_trainer train --model MODEL --config RUN --data FOLDER --out FOLDER
      Trains as the run says; SIGTERM or SIGINT saves the state and ends it. Started by torchrun,
      srun or an indexed job of Kubernetes, the processes share the work.
  sieve_trainer eval --task TASK --model MODEL --adapters NAME=FOLDER,... --text FILE,...
      Measures adapters beside dense attention.
  sieve_trainer study --model MODEL --grid STUDY --data FOLDER --out FOLDER
      Trains and measures every cell of a grid; writes results, tables and plots.
  sieve_trainer report --out FOLDER [--model MODEL]
      Writes FOLDER/report.html of a training run.)";

// Tokenising and calibration, which rank 0 does for all, take less.
constexpr absl::Duration kLongestWaitForARank = absl::Minutes(20);

constexpr int kExitError = 1;
// Of what would fail the next time too: a job of Kubernetes is not tried again.
constexpr int kExitBadFlags = 2;
// Of a run that was stopped before its end: EX_TEMPFAIL of sysexits.h. Whoever restarts what failed
// goes on with it.
constexpr int kExitStopped = 75;

std::atomic<bool> stop = false;
static_assert(std::atomic<bool>::is_always_lock_free);

void Stop(int) { stop.store(true); }

std::vector<std::string> command_line;

struct Model : BaseModel {
  std::unique_ptr<FrozenLlama> llama;
};

absl::StatusOr<Model> OpenModel(int gpu = 0) {
  if (absl::GetFlag(FLAGS_model).empty()) return absl::InvalidArgumentError("--model is not given");
  const absl::StatusOr<at::TensorOptions> backend = OpenBackend(absl::GetFlag(FLAGS_device), gpu);
  if (!backend.ok()) return backend.status();
  absl::StatusOr<BaseModel> base = OpenBaseModel(absl::GetFlag(FLAGS_model));
  if (!base.ok()) return base.status();
  Model model{*std::move(base), nullptr};
  model.llama = std::make_unique<FrozenLlama>(model.checkpoint->config(),
                                              model.checkpoint->weights(), *backend);
  return model;
}

std::string TokenFolder() {
  const std::string folder = absl::GetFlag(FLAGS_cache), out = absl::GetFlag(FLAGS_out);
  if (!folder.empty()) return folder;
  return out.empty() ? "." : absl::StrCat(out, "/tokens");
}

absl::StatusOr<TokenFile> Tokens(const std::vector<TextSource>& sources, const Model& model) {
  return TokeniseOnce(sources, *model.tokenizer, TokenFolder());
}

void OnSignals(void (*handler)(int)) {
  std::signal(SIGTERM, handler);
  std::signal(SIGINT, handler);
}

// While there is nothing to save. Without a handler the first process of a container would go on.
void EndAtSignals() {
  OnSignals([](int) { _exit(kExitStopped); });
}

void StopAtSignals() { OnSignals(Stop); }

// Rank 0 tokenises; where the others see its folder, they find it done.
absl::StatusOr<TokenFile> SharedTokens(const std::vector<TextSource>& sources, const Model& model,
                                       Ranks& ranks) {
  if (ranks.rank() != 0) {
    const absl::Status status = ranks.Meet();
    if (!status.ok()) return status;
  }
  absl::StatusOr<TokenFile> tokens = Tokens(sources, model);
  if (!tokens.ok() || ranks.rank() != 0) return tokens;
  const absl::Status status = ranks.Meet();
  if (!status.ok()) return status;
  return tokens;
}

absl::Status RunTraining() {
  EndAtSignals();
  if (absl::GetFlag(FLAGS_out).empty()) return absl::InvalidArgumentError("--out is not given");
  if (absl::GetFlag(FLAGS_config).empty()) {
    return absl::InvalidArgumentError("--config is not given");
  }
  const auto run = ReadRunConfig(absl::GetFlag(FLAGS_config), absl::GetFlag(FLAGS_data));
  if (!run.ok()) return run.status();
  const auto environment =
      ReadRankEnvironment([](const char* name) -> const char* { return std::getenv(name); });
  if (!environment.ok()) return environment.status();
  const absl::StatusOr<Model> model = OpenModel(environment->local_rank);
  if (!model.ok()) return model.status();
  const auto adapter = AdapterConfigFor(run->adapter, model->checkpoint->config(), model->digest);
  if (!adapter.ok()) return adapter.status();
  const auto ranks =
      ConnectRanks(*environment, model->llama->options().device(), kLongestWaitForARank);
  if (!ranks.ok()) return ranks.status();
  const absl::StatusOr<TokenFile> corpus = SharedTokens(run->corpus, *model, **ranks);
  if (!corpus.ok()) return corpus.status();
  StopAtSignals();
  return Train({.llama = model->llama.get(),
                .adapter = *adapter,
                .run = &*run,
                .corpus = &*corpus,
                .out = absl::GetFlag(FLAGS_out),
                .progress = &std::cerr,
                .stop = &stop,
                .ranks = ranks->get()});
}

absl::StatusOr<std::vector<int64_t>> Numbers(const char* flag,
                                             const std::vector<std::string>& texts) {
  std::vector<int64_t> numbers;
  for (const std::string& text : texts) {
    int64_t number = 0;
    if (!absl::SimpleAtoi(text, &number) || number < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("--", flag, ": \"", text, "\"; expected numbers from 0 on"));
    }
    numbers.push_back(number);
  }
  return numbers;
}

absl::StatusOr<EvalConfig> EvalConfigFromFlags() {
  const auto budgets = Numbers("selected_blocks", absl::GetFlag(FLAGS_selected_blocks));
  if (!budgets.ok()) return budgets.status();
  const auto lengths = Numbers("lengths", absl::GetFlag(FLAGS_lengths));
  if (!lengths.ok()) return lengths.status();
  const std::string cache = absl::GetFlag(FLAGS_cache);
  return EvalConfig{.task = absl::GetFlag(FLAGS_task),
                    .through = absl::GetFlag(FLAGS_through),
                    .model = absl::GetFlag(FLAGS_model),
                    .adapters = absl::GetFlag(FLAGS_adapters),
                    .selected_blocks = *budgets,
                    .texts = absl::GetFlag(FLAGS_text),
                    .cache = cache.empty() ? "." : cache,
                    .device = absl::GetFlag(FLAGS_device),
                    .kv_type = absl::GetFlag(FLAGS_kv_type),
                    .threads = absl::GetFlag(FLAGS_threads),
                    .cache_mb = absl::GetFlag(FLAGS_kv_cache_mb),
                    .max_running = absl::GetFlag(FLAGS_max_running),
                    .max_step_tokens = absl::GetFlag(FLAGS_max_step_tokens),
                    .window = absl::GetFlag(FLAGS_window),
                    .stride = absl::GetFlag(FLAGS_stride),
                    .max_windows = absl::GetFlag(FLAGS_max_windows),
                    .bucket = absl::GetFlag(FLAGS_bucket),
                    .windows_at_once = absl::GetFlag(FLAGS_windows_at_once),
                    .lines = absl::GetFlag(FLAGS_lines),
                    .lengths = *lengths,
                    .cases = absl::GetFlag(FLAGS_cases),
                    .shots_from = absl::GetFlag(FLAGS_shots_from),
                    .shots = absl::GetFlag(FLAGS_shots),
                    .limit = absl::GetFlag(FLAGS_limit),
                    .max_tokens = absl::GetFlag(FLAGS_max_tokens),
                    .seed = absl::GetFlag(FLAGS_seed),
                    .command_line = command_line};
}

absl::Status RunEvaluation() {
  const absl::StatusOr<EvalConfig> config = EvalConfigFromFlags();
  if (!config.ok()) return config.status();
  const ResultFiles files = {.json = absl::GetFlag(FLAGS_json),
                             .table = absl::GetFlag(FLAGS_table)};
  const absl::Status prepared = PrepareResults(files);
  if (!prepared.ok()) return prepared;
  const auto results = RunEval(*config, &std::cerr);
  if (!results.ok()) return results.status();
  return WriteResults(*results, files, std::cout);
}

absl::Status RunStudy() {
  EndAtSignals();
  if (absl::GetFlag(FLAGS_out).empty()) return absl::InvalidArgumentError("--out is not given");
  if (absl::GetFlag(FLAGS_grid).empty()) return absl::InvalidArgumentError("--grid is not given");
  StudyJob job;
  for (const std::string& path : absl::GetFlag(FLAGS_grid)) {
    absl::StatusOr<StudyGrid> grid = ReadStudyGrid(path, absl::GetFlag(FLAGS_data));
    if (!grid.ok()) return grid.status();
    job.grids.push_back(*std::move(grid));
  }
  const absl::StatusOr<Model> model = OpenModel();
  if (!model.ok()) return model.status();
  job.llama = model->llama.get();
  job.tokenizer = model->tokenizer.get();
  job.base_digest = model->digest;
  job.out = absl::GetFlag(FLAGS_out);
  job.cache = TokenFolder();
  job.progress = &std::cerr;
  job.stop = &stop;
  StopAtSignals();
  return RunStudies(job);
}

absl::Status RunReport() {
  const std::string out = absl::GetFlag(FLAGS_out), path = absl::GetFlag(FLAGS_model);
  if (out.empty()) return absl::InvalidArgumentError("--out is not given");
  if (path.empty()) return WriteRunReport(out, /*base_parameters=*/0);
  const auto checkpoint = OpenCheckpoint(path);
  if (!checkpoint.ok()) return checkpoint.status();
  return WriteRunReport(out, BaseParameters((*checkpoint)->config()));
}

// Training itself has no INVALID_ARGUMENT once it has begun.
int ExitStatusOf(const absl::Status& status) {
  if (absl::IsCancelled(status)) return kExitStopped;
  return absl::IsInvalidArgument(status) ? kExitBadFlags : kExitError;
}

int Main(int argc, char** argv) {
  absl::SetProgramUsageMessage(kUsage);
  command_line.assign(argv, argv + argc);
  const std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);
  const std::string command = arguments.size() == 2 ? arguments[1] : "";
  const std::map<std::string, absl::Status (*)()> commands = {
      {"train", RunTraining}, {"eval", RunEvaluation}, {"study", RunStudy}, {"report", RunReport}};
  const auto found = commands.find(command);
  if (found == commands.end()) {
    std::cerr << kUsage << "\n";
    return kExitBadFlags;
  }
  const absl::Status status = WithoutExceptions(found->second);
  if (status.ok()) return 0;
  std::cerr << status.message() << "\n";
  return ExitStatusOf(status);
}

}  // namespace
}  // namespace sieve

int main(int argc, char** argv) { return sieve::Main(argc, argv); }
