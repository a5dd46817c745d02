#ifndef SIEVE_TRAINER_RUN_CONFIG_H_
#define SIEVE_TRAINER_RUN_CONFIG_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/adapter/adapter_config.h"
#include "model/config.h"
#include "trainer/text_source.h"

namespace sieve {

// A part of the training, with a schedule and moments of its own.
struct StageConfig {
  bool end_to_end = false;  // "kind": "layers" or "end_to_end"
  int64_t steps = 0;
  int64_t sequences = 4;                       // of a step
  int64_t sequences_at_once = 1;               // of them, in memory
  std::vector<int64_t> selected_blocks = {8};  // of which each step draws one
  double vector_rate = 1e-2;                   // peak learning rates: of tensors that grow with
  double matrix_rate = 1e-3;                   // one dimension of a head, and of the others
  double weight_decay = 0;
  double clip = 1;
  double selector_weight = 1;
  double task_weight = 0;            // end to end: of the answers' cross-entropy
  std::vector<std::string> trained;  // how the names of what is trained begin; empty: all
};

// A training run: a JSON file such as trainer/configs/smollm2.json.
struct RunConfig {
  nlohmann::json adapter;  // options of adapter_config.json that differ from the defaults
  std::vector<TextSource> corpus;
  int64_t sequence_length = 4096;
  int64_t shortest_document = 2;  // tokens; shorter ones are left out
  int64_t calibration_sequences = 16;
  double tail_bias = -2;  // see CalibrationOptions
  uint64_t seed = 1;
  int64_t query_chunk = 512;
  int64_t logit_rows = 1024;
  double checkpoint_minutes = 10;
  int64_t probe_steps = 20;  // every so many steps the branches' weights are measured; 0: never
  double divergence = 10;    // a loss so many times the running mean stops the run
  std::vector<StageConfig> stages;
  std::string text;  // the file's content, whose changes a run that goes on refuses
};

// Paths of the corpus are taken in `data_folder`. INVALID_ARGUMENT, naming the key, for what is
// malformed, unknown or out of range.
absl::StatusOr<RunConfig> ParseRunConfig(const nlohmann::json& object,
                                         const std::string& data_folder);

// The same of a file, which errors name.
absl::StatusOr<RunConfig> ReadRunConfig(const std::string& path, const std::string& data_folder);

// The adapter's configuration for a model.
absl::StatusOr<AdapterConfig> AdapterConfigFor(const nlohmann::json& options,
                                               const ModelConfig& model,
                                               const std::string& base_digest);

}  // namespace sieve

#endif  // SIEVE_TRAINER_RUN_CONFIG_H_
