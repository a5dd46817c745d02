// sieve_trainer: distils a sparse-attention adapter onto a frozen Llama, and measures adapters.

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <iostream>
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
#include "model/adapter/adapter_file.h"
#include "model/adapter/base_digest.h"
#include "model/checkpoint/checkpoint.h"
#include "model/tokenizer/tokenizer.h"
#include "trainer/backend.h"
#include "trainer/connect_ranks.h"
#include "trainer/evaluate.h"
#include "trainer/layer_tensors.h"
#include "trainer/llama.h"
#include "trainer/rank_environment.h"
#include "trainer/ranks.h"
#include "trainer/run_config.h"
#include "trainer/token_file.h"
#include "trainer/train.h"

ABSL_FLAG(std::string, model, "",
          "Checkpoint: a .gguf file, or a folder with config.json, *.safetensors and "
          "tokenizer.json.");
ABSL_FLAG(std::string, device, "cpu", "What computes: cpu (float32) or cuda (bfloat16).");
ABSL_FLAG(std::string, config, "", "train: the run, a JSON file as trainer/configs/smollm2.json.");
ABSL_FLAG(std::string, data, ".", "train: folder in which the run's corpus is.");
ABSL_FLAG(std::string, out, "",
          "train: folder of the adapter, the state and the log. A run that was stopped goes on "
          "when it is given again.");
ABSL_FLAG(std::string, cache, "", "Folder of tokenised texts; empty: OUT/tokens, or for eval ./.");
ABSL_FLAG(std::string, adapter, "", "eval: the adapter's folder.");
ABSL_FLAG(std::string, text, "", "eval: a text, as it is or gzip-compressed.");
ABSL_FLAG(int64_t, window, 4096, "eval: tokens of a window.");
ABSL_FLAG(int64_t, max_windows, 0, "eval: the first windows only; 0: all.");
ABSL_FLAG(int64_t, windows_at_once, 1, "eval: windows in memory at a time.");
ABSL_FLAG(std::vector<std::string>, selected_blocks, {},
          "eval: budgets, separated by commas; empty: the adapter's own.");

namespace sieve {
namespace {

constexpr char kUsage[] = R"(distils a sparse-attention adapter, and measures adapters.

  sieve_trainer train --model MODEL --config RUN --data FOLDER --out FOLDER
      Trains as the run says; SIGTERM or SIGINT saves the state and ends it. Started by torchrun,
      srun or an indexed job of Kubernetes, the processes share the work.
  sieve_trainer eval --model MODEL --adapter FOLDER --text FILE
      Prints as JSON how sparse attention compares with dense on the windows of a text.)";

// Tokenising and calibration, which rank 0 does for all, take less.
constexpr absl::Duration kLongestWaitForARank = absl::Minutes(20);

constexpr int kExitError = 1;
constexpr int kExitBadFlags = 2;

std::atomic<bool> stop = false;
static_assert(std::atomic<bool>::is_always_lock_free);

void Stop(int) { stop.store(true); }

struct Model {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<FrozenLlama> llama;
  std::string digest;
};

absl::StatusOr<Model> OpenModel(int gpu = 0) {
  if (absl::GetFlag(FLAGS_model).empty()) return absl::InvalidArgumentError("--model is not given");
  const absl::StatusOr<at::TensorOptions> backend = OpenBackend(absl::GetFlag(FLAGS_device), gpu);
  if (!backend.ok()) return backend.status();
  auto checkpoint = OpenCheckpoint(absl::GetFlag(FLAGS_model));
  if (!checkpoint.ok()) return checkpoint.status();
  auto tokenizer = Tokenizer::Create((*checkpoint)->vocabulary());
  if (!tokenizer.ok()) return tokenizer.status();
  Model model;
  const LlamaWeights& weights = (*checkpoint)->weights();
  model.llama = std::make_unique<FrozenLlama>((*checkpoint)->config(), weights, *backend);
  model.digest = BaseDigest((*checkpoint)->config(), weights);
  model.checkpoint = *std::move(checkpoint);
  model.tokenizer = *std::move(tokenizer);
  return model;
}

absl::StatusOr<TokenFile> Tokens(const std::vector<TextSource>& sources, const Model& model) {
  std::string folder = absl::GetFlag(FLAGS_cache);
  if (folder.empty()) {
    const std::string out = absl::GetFlag(FLAGS_out);
    folder = out.empty() ? "." : absl::StrCat(out, "/tokens");
  }
  return TokeniseOnce(sources, *model.tokenizer, folder);
}

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
  if (absl::GetFlag(FLAGS_out).empty()) return absl::InvalidArgumentError("--out is not given");
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
  std::signal(SIGTERM, Stop);
  std::signal(SIGINT, Stop);
  return Train({.llama = model->llama.get(),
                .adapter = *adapter,
                .run = &*run,
                .corpus = &*corpus,
                .out = absl::GetFlag(FLAGS_out),
                .progress = &std::cerr,
                .stop = &stop,
                .ranks = ranks->get()});
}

absl::StatusOr<std::vector<int64_t>> Budgets(const AdapterConfig& adapter) {
  std::vector<int64_t> budgets;
  for (const std::string& text : absl::GetFlag(FLAGS_selected_blocks)) {
    int64_t blocks = 0;
    if (!absl::SimpleAtoi(text, &blocks) || blocks < 0) {
      return absl::InvalidArgumentError(absl::StrCat("--selected_blocks: ", text));
    }
    budgets.push_back(blocks);
  }
  if (budgets.empty()) budgets.push_back(adapter.selected_blocks);
  return budgets;
}

absl::Status RunEvaluation() {
  const absl::StatusOr<Adapter> adapter = OpenAdapter(absl::GetFlag(FLAGS_adapter));
  if (!adapter.ok()) return adapter.status();
  const auto budgets = Budgets(adapter->config);
  if (!budgets.ok()) return budgets.status();
  if (absl::GetFlag(FLAGS_window) < 2) return absl::InvalidArgumentError("--window: at least 2");
  if (absl::GetFlag(FLAGS_windows_at_once) < 1) {
    return absl::InvalidArgumentError("--windows_at_once: at least 1");
  }
  const absl::StatusOr<Model> model = OpenModel();
  if (!model.ok()) return model.status();
  const absl::Status fits =
      CheckAdapterFits(adapter->config, model->checkpoint->config(), model->digest);
  if (!fits.ok()) return fits;
  const auto tokens = Tokens({{.path = absl::GetFlag(FLAGS_text)}}, *model);
  if (!tokens.ok()) return tokens.status();
  const auto layers = LoadLayers(*adapter, model->llama->options().device());
  const auto result = Evaluate(*model->llama, adapter->config, layers, tokens->tokens(),
                               {.window = absl::GetFlag(FLAGS_window),
                                .max_windows = absl::GetFlag(FLAGS_max_windows),
                                .windows_at_once = absl::GetFlag(FLAGS_windows_at_once),
                                .selected_blocks = *budgets});
  std::cout << result.dump(2) << std::endl;
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  absl::SetProgramUsageMessage(kUsage);
  const std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);
  const std::string command = arguments.size() == 2 ? arguments[1] : "";
  if (command != "train" && command != "eval") {
    std::cerr << kUsage << "\n";
    return kExitBadFlags;
  }
  const absl::Status status = command == "train" ? RunTraining() : RunEvaluation();
  if (status.ok()) return 0;
  std::cerr << status.message() << "\n";
  return absl::IsCancelled(status) ? 0 : kExitError;
}

}  // namespace
}  // namespace sieve

int main(int argc, char** argv) { return sieve::Main(argc, argv); }
