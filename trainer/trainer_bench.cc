// How fast training steps are: end-to-end (and layer by layer) steps on random tokens, one JSON
// line a kind. The model is a checkpoint or, with --shape, of that shape with random weights.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/status/statusor.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/random_checkpoint.h"
#include "trainer/backend.h"
#include "trainer/calibrate.h"
#include "trainer/distill.h"
#include "trainer/llama.h"
#include "trainer/run_config.h"
#include "trainer/training_state.h"

ABSL_FLAG(std::string, model, "", "A checkpoint.");
ABSL_FLAG(std::string, shape, "", "A config.json, in place of --model: random weights.");
ABSL_FLAG(std::string, device, "cpu", "cpu or cuda.");
ABSL_FLAG(int64_t, sequence_length, 4096, "tokens");
ABSL_FLAG(int64_t, sequences, 1, "in memory at a time");
ABSL_FLAG(int64_t, selected_blocks, 8, "a query");
ABSL_FLAG(int64_t, query_chunk, 512, "queries at a time");
ABSL_FLAG(int64_t, logit_rows, 1024, "logits at a time");
ABSL_FLAG(int, steps, 5, "that are timed, after one that is not");

namespace sieve {
namespace {

at::Tensor RandomTokens(const ModelConfig& config, std::mt19937_64& random, at::Device device) {
  at::Tensor tokens =
      at::empty({absl::GetFlag(FLAGS_sequences), absl::GetFlag(FLAGS_sequence_length)}, at::kLong);
  for (int64_t i = 0; i < tokens.numel(); ++i) {
    tokens.data_ptr<int64_t>()[i] = static_cast<int64_t>(random() % config.vocabulary_size);
  }
  return tokens.to(device);
}

// Seconds of each step.
std::vector<double> Steps(const FrozenLlama& llama, const AdapterConfig& adapter, bool end_to_end,
                          TrainingState* state) {
  std::mt19937_64 random(1);
  std::vector<double> seconds;
  StageConfig stage;
  stage.end_to_end = end_to_end;
  BeginStage(stage, state);
  const DistillOptions options = {.selected_blocks = absl::GetFlag(FLAGS_selected_blocks),
                                  .query_chunk = absl::GetFlag(FLAGS_query_chunk),
                                  .logit_rows = absl::GetFlag(FLAGS_logit_rows),
                                  .selector_weight = end_to_end ? 0.0 : 1.0};
  for (int step = 0; step <= absl::GetFlag(FLAGS_steps); ++step) {
    const at::Tensor tokens = RandomTokens(llama.config(), random, llama.options().device());
    const auto begin = std::chrono::steady_clock::now();
    if (end_to_end) {
      DistillEndToEnd(llama, adapter, state->layers, tokens, options);
    } else {
      DistillLayers(llama, adapter, state->layers, tokens, options);
    }
    AdamWStep({}, step, 1, &state->parameters);  // waits for the device
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    if (step > 0) seconds.push_back(took.count());
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

absl::Status Run() {
  const std::string shape = absl::GetFlag(FLAGS_shape);
  const auto backend = OpenBackend(absl::GetFlag(FLAGS_device), 0);
  if (!backend.ok()) return backend.status();
  const auto checkpoint =
      shape.empty() ? OpenCheckpoint(absl::GetFlag(FLAGS_model)) : OpenRandomCheckpoint(shape, {});
  if (!checkpoint.ok()) return checkpoint.status();
  const ModelConfig& config = (*checkpoint)->config();
  const FrozenLlama llama(config, (*checkpoint)->weights(), *backend);
  const auto adapter = AdapterConfigFor(nlohmann::json::object(), config, std::string(64, '0'));
  if (!adapter.ok()) return adapter.status();
  std::mt19937_64 random(2);
  TrainingState state;
  const std::vector<at::Tensor> sequences = {RandomTokens(config, random, backend->device())};
  state.layers = Calibrate(llama, *adapter, sequences, {});
  for (const bool end_to_end : {true, false}) {
    const std::vector<double> seconds = Steps(llama, *adapter, end_to_end, &state);
    const double median = seconds[seconds.size() / 2];
    const int64_t tokens = absl::GetFlag(FLAGS_sequences) * absl::GetFlag(FLAGS_sequence_length);
    const nlohmann::ordered_json row = {
        {"measurement", "training"},
        {"stage", end_to_end ? "end_to_end" : "layers"},
        {"model", shape.empty() ? absl::GetFlag(FLAGS_model) : shape},
        {"device", absl::GetFlag(FLAGS_device)},
        {"sequence_length", absl::GetFlag(FLAGS_sequence_length)},
        {"sequences", absl::GetFlag(FLAGS_sequences)},
        {"selected_blocks", absl::GetFlag(FLAGS_selected_blocks)},
        {"query_chunk", absl::GetFlag(FLAGS_query_chunk)},
        {"steps", seconds.size()},
        {"step_s", {{"min", seconds.front()}, {"median", median}, {"max", seconds.back()}}},
        {"tokens_per_second", static_cast<double>(tokens) / median}};
    std::cout << row.dump() << std::endl;
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace sieve

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = sieve::Run();
  if (!status.ok()) std::cerr << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
