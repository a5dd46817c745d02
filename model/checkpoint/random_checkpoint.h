#ifndef SIEVE_MODEL_CHECKPOINT_RANDOM_CHECKPOINT_H_
#define SIEVE_MODEL_CHECKPOINT_RANDOM_CHECKPOINT_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/checkpoint/checkpoint.h"

namespace sieve {

struct RandomCheckpointOptions {
  uint64_t seed = 0;
  int num_threads = 0;  // that make the weights; 0: one a core
};

// A model of the shape that a Hugging Face config.json (of any name) describes, with random bf16
// weights: for measurements of speed, which need no file of gigabytes. Deviations are the config's
// initializer_range; see MakeRandomWeights. `file_bytes` are those of the weights.
//
// The vocabulary is that of the tokenizer files in the config's folder, by the rules of a
// checkpoint's folder; where there are none, one token a byte (see MakeByteVocabulary) with the
// config's bos_token_id and eos_token_id, and no chat format.
//
// Errors are those of ReadHfConfig and of the tokenizer's files, INVALID_ARGUMENT for other keys
// that make no sense, and RESOURCE_EXHAUSTED when the weights do not fit into memory.
absl::StatusOr<std::unique_ptr<Checkpoint>> OpenRandomCheckpoint(
    const std::string& config_path, const RandomCheckpointOptions& options);

// The folder that OpenRandomCheckpoint reads.
std::string RandomCheckpointFolder(const std::string& config_path);

}  // namespace sieve

#endif  // SIEVE_MODEL_CHECKPOINT_RANDOM_CHECKPOINT_H_
