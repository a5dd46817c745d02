// Speed of model steps without gRPC: a prompt, one stream, several streams; with --sample, decoding
// draws tokens as the engine does. One JSON line a measurement, with every repetition in it.

#include <chrono>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "model/adapter/adapter.h"
#include "model/adapter/adapter_file.h"
#include "model/attention/summary_layout.h"
#include "model/cache/geometry.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/random_checkpoint.h"
#include "model/host_step_runner.h"
#include "model/open_transformer.h"
#include "model/step_runner.h"
#include "model/transformer.h"

ABSL_FLAG(std::string, model, "", "checkpoint: a .gguf file or a Hugging Face folder");
ABSL_FLAG(std::string, random_weights, "",
          "instead of --model: a config.json, whose model gets random weights");
ABSL_FLAG(int, threads, 0, "0: one a core");
ABSL_FLAG(int, repetitions, 3, "of each measurement");
ABSL_FLAG(int, prompt_tokens, 512, "of the prompt measurement; 0: leave it out");
ABSL_FLAG(int, generated_tokens, 128, "of each stream; 0: leave it out");
ABSL_FLAG(std::vector<std::string>, streams, (std::vector<std::string>{"1", "8"}),
          "numbers of streams that decode together");
ABSL_FLAG(int, context_tokens, 0, "prompt of each stream before decoding is timed");
ABSL_FLAG(bool, sample, false,
          "draw the tokens that streams go on with, where the model computes, and submit a step "
          "before the tokens of the one before it are known, where the model allows it");
ABSL_FLAG(float, temperature, 1, "of --sample; 0: greedy");
ABSL_FLAG(double, top_p, 1, "of --sample");
ABSL_FLAG(std::string, device, "cpu", "cpu or cuda");
ABSL_FLAG(std::string, cache_type, "f16",
          "f16, f32 or bf16; on CUDA of weights and activations too");
ABSL_FLAG(
    std::string, adapter, "",
    "all sequences use it: a folder, or `random` for one of the default options whose tensors "
    "are random");

namespace sieve {
namespace {

constexpr int64_t kStepTokens = 8192;  // of all streams' contexts, while they are made

// Tokens of each stream that a step adds to its context.
int64_t ContextChunk(int64_t streams) { return std::max<int64_t>(1, kStepTokens / streams); }

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Sequences with a contiguous range of pages each.
class Driver {
 public:
  Driver(Transformer* model, int64_t sequences, int64_t tokens_each)
      : model_(model),
        host_runner_(model),
        pages_each_((tokens_each + kPageTokens - 1) / kPageTokens) {
    tables_.resize(sequences * pages_each_);
    std::iota(tables_.begin(), tables_.end(), 0);
  }

  // Of all steps to come.
  void UseAdapter(int32_t slot) { adapters_.assign(tables_.size() / pages_each_, slot); }

  // `count` tokens at `position` for each sequence; logits of the last token of each.
  absl::Status Step(int64_t sequences, int64_t position, int64_t count) {
    LayOut(sequences, position, count);
    logits_.resize(rows_.size() * model_->vocabulary_size());
    return model_->Forward(TheBatch(), absl::MakeSpan(logits_));
  }

  // `steps` steps of one token for each sequence, from `position` on, each with what the one before
  // it drew.
  absl::Status SampledSteps(int64_t sequences, int64_t position, int64_t steps,
                            const SamplingParams& params) {
    StepRunner* const runner =
        model_->step_runner() != nullptr ? model_->step_runner() : &host_runner_;
    absl::Status status;
    for (int64_t i = 0; i < steps && status.ok(); ++i) {
      LayOut(sequences, position + i, 1);
      for (int64_t s = 0; i > 0 && s < sequences; ++s) {
        tokens_[s] = runner->in_flight() > 0 ? PendingToken(static_cast<int32_t>(s)) : drawn_[s];
      }
      status = runner->Submit(
          {.copies = {}, .batch = TheBatch(), .draws = Draws(sequences, i, &params)});
      while (status.ok() && !runner->CanSubmit()) status = Collect(runner);
    }
    while (runner->in_flight() > 0) status.Update(Collect(runner));
    return status;
  }

 private:
  void LayOut(int64_t sequences, int64_t position, int64_t count) {
    tokens_.clear(), positions_.clear(), rows_.clear();
    offsets_ = {0};
    for (int64_t s = 0; s < sequences; ++s) {
      for (int64_t i = 0; i < count; ++i) {
        // Any tokens do: the work does not depend on them.
        tokens_.push_back(static_cast<int32_t>((s * 7919 + (position + i) * 104729 + 1000) %
                                               model_->vocabulary_size()));
        positions_.push_back(static_cast<int32_t>(position + i));
      }
      offsets_.push_back(static_cast<int32_t>(tokens_.size()));
      rows_.push_back(static_cast<int32_t>(tokens_.size()) - 1);
    }
  }
  Batch TheBatch() const {
    return {.tokens = tokens_,
            .positions = positions_,
            .offsets = offsets_,
            .block_tables = tables_,
            .block_table_stride = pages_each_,
            .logit_rows = rows_,
            .adapters =
                absl::MakeConstSpan(adapters_).first(adapters_.empty() ? 0 : offsets_.size() - 1)};
  }
  absl::Span<const Draw> Draws(int64_t sequences, int64_t step, const SamplingParams* params) {
    draws_.resize(sequences);
    for (int32_t s = 0; s < sequences; ++s) {
      draws_[s].logit_row = draws_[s].sample = s;
      draws_[s].params = params;
      draws_[s].position = step;
    }
    return draws_;
  }
  absl::Status Collect(StepRunner* runner) {
    const absl::StatusOr<std::vector<DrawnToken>> drawn = runner->Collect();
    if (!drawn.ok()) return drawn.status();
    drawn_.clear();
    for (const DrawnToken& d : *drawn) {
      if (!d.status.ok()) return d.status;
      drawn_.push_back(d.token);
    }
    return absl::OkStatus();
  }

  Transformer* const model_;
  HostStepRunner host_runner_;  // where the model has none of its own
  const int64_t pages_each_;
  std::vector<int32_t> tables_, tokens_, positions_, offsets_, rows_, drawn_, adapters_;
  std::vector<Draw> draws_;
  std::vector<float> logits_;
};

void Check(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << status << "\n";
  std::exit(1);
}

nlohmann::json Measure(const Transformer& model, const std::string& name,
                       const std::vector<double>& tokens_a_second) {
  nlohmann::json line = {{"engine", "sieve"},
                         {"model", model.config().name},
                         {"device", model.memory().device},
                         {"measurement", name},
                         {"unit", "tokens/s"},
                         {"values", tokens_a_second},
                         {"cache_type", InfoOf(model.geometry().dtype).name}};
  if (const std::string adapter = absl::GetFlag(FLAGS_adapter); !adapter.empty()) {
    line["adapter"] = adapter;
  }
  return line;
}

// What --adapter names, for a model.
std::shared_ptr<const Adapter> ReadAdapter(const ModelConfig& model) {
  if (const std::string name = absl::GetFlag(FLAGS_adapter); name != "random") {
    absl::StatusOr<Adapter> adapter = OpenAdapter(name);
    Check(adapter.status());
    return std::make_shared<const Adapter>(*std::move(adapter));
  }
  auto adapter = std::make_shared<Adapter>();
  AdapterConfig& c = adapter->config;
  c.num_layers = model.num_layers;
  c.hidden_size = model.hidden_size;
  c.num_heads = model.num_heads;
  c.num_kv_heads = model.num_kv_heads;
  c.head_dim = model.head_dim;
  adapter->layers.resize(c.num_layers);
  std::minstd_rand random(1);
  for (AdapterLayer& layer : adapter->layers) {
    for (const AdapterTensor& tensor : AdapterTensors(c)) {
      int64_t size = 1;
      for (const int64_t n : tensor.shape) size *= n;
      const float width = 1 / std::sqrt(static_cast<float>(tensor.shape.back()));
      std::uniform_real_distribution<float> values(-width, width);
      for (int64_t i = 0; i < size; ++i) (layer.*tensor.values).push_back(values(random));
    }
  }
  return adapter;
}

void BenchPrompt(Transformer* model, int64_t tokens, int repetitions) {
  std::vector<double> rates;
  Driver driver(model, 1, tokens);
  if (!absl::GetFlag(FLAGS_adapter).empty()) driver.UseAdapter(0);
  Check(driver.Step(1, 0, tokens));  // warms up
  for (int r = 0; r < repetitions; ++r) {
    const double start = Seconds();
    Check(driver.Step(1, 0, tokens));
    rates.push_back(static_cast<double>(tokens) / (Seconds() - start));
  }
  std::cout << Measure(*model, "prompt_" + std::to_string(tokens), rates) << std::endl;
}

void BenchDecode(Transformer* model, int64_t streams, int64_t context, int64_t tokens,
                 int repetitions) {
  std::vector<double> rates;
  const bool sample = absl::GetFlag(FLAGS_sample);
  SamplingParams params;
  params.temperature = absl::GetFlag(FLAGS_temperature);
  params.top_p = static_cast<float>(absl::GetFlag(FLAGS_top_p));
  Driver driver(model, streams, context + tokens);
  if (!absl::GetFlag(FLAGS_adapter).empty()) driver.UseAdapter(0);
  const int64_t chunk = ContextChunk(streams);
  for (int64_t p = 0; p < context; p += chunk) {
    Check(driver.Step(streams, p, std::min(chunk, context - p)));
  }
  for (int r = -1; r < repetitions; ++r) {  // each writes the same places of the cache
    const double start = Seconds();
    const int64_t steps = r < 0 ? 8 : tokens;  // the first round warms up
    if (sample) Check(driver.SampledSteps(streams, context, steps, params));
    for (int64_t i = 0; i < steps && !sample; ++i) Check(driver.Step(streams, context + i, 1));
    if (r >= 0) rates.push_back(static_cast<double>(streams * tokens) / (Seconds() - start));
  }
  nlohmann::json line = Measure(*model, "decode_" + std::to_string(streams) + "_streams", rates);
  line["context_tokens"] = context;
  line["generated_tokens"] = tokens;
  if (sample) line["sampling"] = {{"temperature", params.temperature}, {"top_p", params.top_p}};
  std::cout << line << std::endl;
}

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenModel() {
  const std::string model = absl::GetFlag(FLAGS_model);
  const std::string config = absl::GetFlag(FLAGS_random_weights);
  if (model.empty() == config.empty()) {
    return absl::InvalidArgumentError("expected exactly one of --model and --random_weights");
  }
  if (config.empty()) return OpenCheckpoint(model);
  return OpenRandomCheckpoint(config, {.num_threads = absl::GetFlag(FLAGS_threads)});
}

int Main() {
  auto checkpoint = OpenModel();
  Check(checkpoint.status());
  int64_t most_streams = 1;
  for (const std::string& s : absl::GetFlag(FLAGS_streams)) {
    most_streams = std::max<int64_t>(most_streams, std::stoi(s));
  }
  const int64_t context = absl::GetFlag(FLAGS_context_tokens);
  const int64_t generated = absl::GetFlag(FLAGS_generated_tokens);
  const int64_t prompt = absl::GetFlag(FLAGS_prompt_tokens);
  const std::string type = absl::GetFlag(FLAGS_cache_type);
  const ModelConfig& config = (*checkpoint)->config();
  const DType dtype = type == "f32" ? DType::kF32 : type == "bf16" ? DType::kBF16 : DType::kF16;
  std::shared_ptr<const Adapter> adapter;
  if (!absl::GetFlag(FLAGS_adapter).empty()) adapter = ReadAdapter(config);
  const CacheGeometry geometry = {
      .num_layers = config.num_layers,
      .num_kv_heads = config.num_kv_heads,
      .head_dim = config.head_dim,
      .dtype = dtype,
      .summary_bytes = adapter ? SummaryLayoutOf(adapter->config, dtype).bytes : 0};
  const int64_t pages =
      std::max(most_streams * ((context + generated) / kPageTokens + 1), prompt / kPageTokens + 1);
  auto model = OpenTransformer(
      config, (*checkpoint)->weights(),
      {.device = absl::GetFlag(FLAGS_device) == "cuda" ? Device::kCuda : Device::kCpu,
       .num_threads = absl::GetFlag(FLAGS_threads),
       .dtype = dtype,
       .cache_bytes = pages * geometry.BytesPerPage(),
       .summary_bytes = geometry.summary_bytes,
       .max_step_tokens = std::max({prompt, kStepTokens, most_streams}),
       .max_sequences = most_streams,
       .max_context_tokens = std::max(prompt, context + generated + kPageTokens)});
  Check(model.status());
  if (adapter) Check((*model)->SetAdapter(0, adapter));
  const int repetitions = absl::GetFlag(FLAGS_repetitions);
  if (prompt > 0) BenchPrompt(model->get(), prompt, repetitions);
  if (generated > 0) {
    for (const std::string& s : absl::GetFlag(FLAGS_streams)) {
      BenchDecode(model->get(), std::stoi(s), context, generated, repetitions);
    }
  }
  return 0;
}

}  // namespace
}  // namespace sieve

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return sieve::Main();
}
