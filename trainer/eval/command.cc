#include "trainer/eval/command.h"

#include <torch/headeronly/version.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/open_transformer.h"
#include "model/version.h"
#include "trainer/backend.h"
#include "trainer/base_model.h"
#include "trainer/eval/engine_model.h"
#include "trainer/eval/engine_scorer.h"
#include "trainer/eval/generation.h"
#include "trainer/eval/gsm8k.h"
#include "trainer/eval/perplexity.h"
#include "trainer/eval/retrieval.h"
#include "trainer/eval/retrieval_cases.h"
#include "trainer/eval/torch_scorer.h"
#include "trainer/eval/variant.h"
#include "trainer/token_file.h"

namespace sieve {
namespace {

using nlohmann::ordered_json;

// What every task works on.
struct Job {
  const EvalConfig& config;
  BaseModel base;
  std::vector<Variant> variants;
  std::ostream* progress;

  int64_t num_variants() const { return static_cast<int64_t>(variants.size()); }
};

absl::Status AtLeast(const char* flag, int64_t value, int64_t least) {
  if (value >= least) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, " is ", value, "; expected at least ", least));
}

absl::Status Missing(const char* flag, const char* what) {
  return absl::InvalidArgumentError(absl::StrCat("--", flag, " is not given: ", what));
}

absl::Status Check(const EvalConfig& config) {
  absl::Status status;
  status.Update(AtLeast("window", config.window, 2));
  status.Update(AtLeast("stride", config.stride, 0));
  status.Update(AtLeast("max_windows", config.max_windows, 0));
  status.Update(AtLeast("bucket", config.bucket, 0));
  status.Update(AtLeast("windows_at_once", config.windows_at_once, 1));
  status.Update(AtLeast("cases", config.cases, 1));
  status.Update(AtLeast("shots", config.shots, 0));
  status.Update(AtLeast("limit", config.limit, 0));
  status.Update(AtLeast("max_tokens", config.max_tokens, 1));
  status.Update(AtLeast("threads", config.threads, 0));
  status.Update(AtLeast("kv_cache_mb", config.cache_mb, 1));
  status.Update(AtLeast("max_running", config.max_running, 1));
  status.Update(
      AtLeast("max_step_tokens", config.max_step_tokens, config.max_running + kPageTokens));
  if (config.model.empty()) status.Update(Missing("model", "the checkpoint"));
  if (config.through != "engine" && config.through != "torch") {
    status.Update(absl::InvalidArgumentError(
        absl::StrCat("--through is \"", config.through, "\"; expected engine or torch")));
  }
  if (config.through == "torch" && config.task != "perplexity") {
    status.Update(absl::InvalidArgumentError("--through torch only measures --task perplexity"));
  }
  return status;
}

absl::StatusOr<TokenFile> Tokens(const std::string& path, const Job& job) {
  return TokeniseOnce({{.path = path, .fields = {}}}, *job.base.tokenizer, job.config.cache);
}

absl::StatusOr<std::unique_ptr<Transformer>> OpenEngine(const Job& job,
                                                        EngineModelOptions options) {
  const absl::StatusOr<Device> device = ParseDevice(job.config.device);
  if (!device.ok()) return device.status();
  const absl::StatusOr<std::optional<DType>> dtype = ParseCacheType(job.config.kv_type);
  if (!dtype.ok()) return dtype.status();
  options.device = *device;
  options.dtype = *dtype;
  options.num_threads = job.config.threads;
  return OpenEngineModel(job.base.checkpoint->config(), job.base.checkpoint->weights(),
                         job.variants, options);
}

// For prompts of at most `longest` tokens with what is generated; as many at once as --kv_cache_mb
// holds, but one at least.
absl::StatusOr<std::unique_ptr<Transformer>> OpenGenerator(const Job& job, int64_t longest) {
  const ModelConfig& model = job.base.checkpoint->config();
  const int64_t pages = (longest + kPageTokens - 1) / kPageTokens;
  const CacheGeometry geometry = {.num_layers = model.num_layers,
                                  .num_kv_heads = model.num_kv_heads,
                                  .head_dim = model.head_dim};
  const int64_t room = (job.config.cache_mb << 20) / geometry.BytesPerPage();
  return OpenEngine(job,
                    {.cache_pages = std::max(pages, std::min(room, pages * job.config.max_running)),
                     .max_step_tokens = job.config.max_step_tokens,
                     .max_sequences = job.config.max_running,
                     .max_context_tokens = longest});
}

GreedyOptions Greedy(const Job& job, int64_t max_tokens) {
  GreedyOptions greedy = {.max_tokens = max_tokens,
                          .max_running = job.config.max_running,
                          .max_step_tokens = job.config.max_step_tokens};
  greedy.progress = [out = job.progress](int64_t done) {
    if (done % 10 == 0) *out << done << " texts" << std::endl;
  };
  return greedy;
}

struct Scorer {
  std::unique_ptr<FrozenLlama> llama;  // of torch
  std::unique_ptr<Transformer> model;  // of the engine
  std::unique_ptr<WindowScorer> scorer;
};

absl::StatusOr<Scorer> OpenTorchScorer(const Job& job) {
  const absl::StatusOr<at::TensorOptions> backend = OpenBackend(job.config.device, /*gpu=*/0);
  if (!backend.ok()) return backend.status();
  Scorer out;
  out.llama = std::make_unique<FrozenLlama>(job.base.checkpoint->config(),
                                            job.base.checkpoint->weights(), *backend);
  out.scorer = std::make_unique<TorchScorer>(
      out.llama.get(), TorchVariants(job.variants, backend->device()),
      TorchScorerOptions{.windows_at_once = job.config.windows_at_once});
  return out;
}

absl::StatusOr<Scorer> OpenEngineScorer(const Job& job) {
  const int64_t variants = job.num_variants(), window = job.config.window;
  const int64_t step = (variants + 1) * EngineScorer::ChunkTokens(variants);
  auto model = OpenEngine(job, {.cache_pages = EngineScorer::Pages(variants, window),
                                .max_step_tokens = step,
                                .max_sequences = step,  // rows of logits too
                                .max_context_tokens = window});
  if (!model.ok()) return model.status();
  Scorer out;
  out.model = *std::move(model);
  out.scorer = std::make_unique<EngineScorer>(out.model.get(), variants, job.config.threads);
  return out;
}

absl::StatusOr<ordered_json> RunPerplexity(const Job& job) {
  const EvalConfig& config = job.config;
  if (config.texts.empty()) return Missing("text", "files to read, separated by commas");
  if (job.variants.empty()) return Missing("adapters", "what is compared with dense attention");
  const int64_t context = job.base.checkpoint->config().context_length;
  if (config.window > context) {
    return absl::InvalidArgumentError(
        absl::StrCat("--window is ", config.window, "; the model's context is ", context));
  }
  std::vector<TokenFile> files;
  std::vector<TokenisedText> texts;
  for (const std::string& path : config.texts) {
    absl::StatusOr<TokenFile> file = Tokens(path, job);
    if (!file.ok()) return file.status();
    files.push_back(*std::move(file));
    texts.push_back({std::filesystem::path(path).filename(), files.back().tokens()});
  }
  auto scorer = config.through == "torch" ? OpenTorchScorer(job) : OpenEngineScorer(job);
  if (!scorer.ok()) return scorer.status();
  return EvaluatePerplexity(scorer->scorer.get(), job.variants, texts,
                            {.window = config.window,
                             .stride = config.stride > 0 ? config.stride : config.window,
                             .max_windows = config.max_windows,
                             .bucket = config.bucket,
                             .seed = config.seed,
                             .progress = job.progress});
}

absl::StatusOr<std::vector<RetrievalCase>> Cases(const Job& job) {
  const EvalConfig& config = job.config;
  std::vector<RetrievalCase> cases;
  for (const std::string& path : config.texts) {
    const absl::StatusOr<TokenFile> book = Tokens(path, job);
    if (!book.ok()) return book.status();
    const auto more =
        PasskeyCases(*job.base.tokenizer, book->tokens(),
                     {.lengths = config.lengths, .cases = config.cases, .seed = config.seed});
    if (!more.ok()) return more.status();
    cases.insert(cases.end(), more->begin(), more->end());
  }
  for (const std::string& path : config.lines) {
    const auto more = LineCases(*job.base.tokenizer, path, config.limit);
    if (!more.ok()) return more.status();
    cases.insert(cases.end(), more->begin(), more->end());
  }
  return cases;
}

absl::StatusOr<ordered_json> RunRetrieval(const Job& job) {
  const auto cases = Cases(job);
  if (!cases.ok()) return cases.status();
  if (cases->empty()) {
    return absl::InvalidArgumentError(
        "nothing to retrieve: --text and --lengths make pass keys, --lines reads prompts");
  }
  size_t longest = 0;
  for (const RetrievalCase& one : *cases) longest = std::max(longest, one.prompt.size());
  const int64_t context = std::min(job.base.checkpoint->config().context_length,
                                   static_cast<int64_t>(longest) + kRetrievalTokens);
  const auto model = OpenGenerator(job, context);
  if (!model.ok()) return model.status();
  RetrievalTaskOptions options = {.seed = job.config.seed, .greedy = Greedy(job, kRetrievalTokens)};
  options.greedy.stop_texts = {"\n"};
  return EvaluateRetrieval(model->get(), *job.base.tokenizer, job.variants, *cases, options);
}

absl::StatusOr<ordered_json> RunGsm8k(const Job& job) {
  const EvalConfig& config = job.config;
  if (config.texts.size() != 1) return Missing("text", "the file of the problems");
  std::vector<Gsm8kProblem> shots;
  if (config.shots > 0) {
    if (config.shots_from.empty()) return Missing("shots_from", "the file of the shots");
    auto read = ReadGsm8k(config.shots_from, config.shots);
    if (!read.ok()) return read.status();
    shots = *std::move(read);
  }
  const auto problems = ReadGsm8k(config.texts[0], config.limit);
  if (!problems.ok()) return problems.status();
  size_t longest = 0;
  for (const Gsm8kProblem& problem : *problems) {
    longest = std::max(longest,
                       job.base.tokenizer->Encode(Gsm8kPrompt(shots, problem.question), {}).size());
  }
  const auto model = OpenGenerator(job, static_cast<int64_t>(longest) + config.max_tokens);
  if (!model.ok()) return model.status();
  Gsm8kOptions options = {.seed = config.seed, .greedy = Greedy(job, config.max_tokens)};
  options.greedy.stop_texts = {kGsm8kStop};
  return EvaluateGsm8k(model->get(), *job.base.tokenizer, job.variants, shots, *problems, options);
}

absl::StatusOr<ordered_json> RunGeneration(const Job& job) {
  const EvalConfig& config = job.config;
  if (config.texts.size() != 1) return Missing("text", "the file of the prompts");
  const auto prompts = ReadPrompts(config.texts[0], config.limit);
  if (!prompts.ok()) return prompts.status();
  const auto model = OpenGenerator(job, job.base.checkpoint->config().context_length);
  if (!model.ok()) return model.status();
  return EvaluateGeneration(model->get(), *job.base.tokenizer, job.variants, *prompts,
                            {.seed = config.seed, .greedy = Greedy(job, config.max_tokens)});
}

absl::StatusOr<ordered_json> RunTask(const Job& job) {
  const std::string& task = job.config.task;
  if (task == "perplexity") return RunPerplexity(job);
  if (task == "retrieval") return RunRetrieval(job);
  if (task == "gsm8k") return RunGsm8k(job);
  if (task == "generation") return RunGeneration(job);
  return absl::InvalidArgumentError(absl::StrCat(
      "--task is \"", task, "\"; expected perplexity, retrieval, gsm8k or generation"));
}

ordered_json Description(const Job& job) {
  const EvalConfig& config = job.config;
  ordered_json out = {{"task", config.task},
                      {"through", config.through},
                      {"model", job.base.checkpoint->config().name},
                      {"model_digest", job.base.digest},
                      {"device", config.device},
                      {"seed", config.seed},
                      {"version", std::string(kVersion)}};
  if (config.through == "torch") out["torch_version"] = TORCH_VERSION;
  if (config.through == "engine" && !config.kv_type.empty()) out["kv_type"] = config.kv_type;
  out["command"] = config.command_line;
  return out;
}

}  // namespace

absl::StatusOr<ordered_json> RunEval(const EvalConfig& config, std::ostream* progress) {
  const absl::Status status = Check(config);
  if (!status.ok()) return status;
  absl::StatusOr<BaseModel> base = OpenBaseModel(config.model);
  if (!base.ok()) return base.status();
  auto variants = OpenVariants(config.adapters, config.selected_blocks, base->checkpoint->config(),
                               base->digest);
  if (!variants.ok()) return variants.status();
  const Job job = {config, *std::move(base), *std::move(variants), progress};
  const absl::StatusOr<ordered_json> results = RunTask(job);
  if (!results.ok()) return results.status();
  ordered_json out = Description(job);
  out.update(*results);
  return out;
}

}  // namespace sieve
