#ifndef SIEVE_TRAINER_TRAINING_STATE_H_
#define SIEVE_TRAINER_TRAINING_STATE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/layer_tensors.h"
#include "trainer/optimizer.h"
#include "trainer/ranks.h"
#include "trainer/run_config.h"

namespace sieve {

// Where a training run is. What it draws depends on seed, stage and step alone, so that this is all
// of it: a run that goes on from here is equal, to the last bit, to one that never stopped.
struct TrainingState {
  int64_t stage = 0;
  int64_t step = 0;      // of that stage, done
  double mean_loss = 0;  // running, of that stage, without that of answers
  std::vector<LayerTensors> layers;
  std::vector<Parameter> parameters;  // of that stage: they share their values with `layers`
};

// Begins a stage: `parameters` are what it trains, with moments of zero; nothing else requires a
// gradient.
void BeginStage(const StageConfig& stage, TrainingState* state);

// Replaces the folder `dir` when all of the new one is on the disk. `fingerprint` is of what the
// run depends on. The errors of DurableFile.
absl::Status SaveState(const TrainingState& state, const std::string& fingerprint,
                       const std::string& dir);

// Into a state whose layers have the right shapes. NOT_FOUND without the folder;
// FAILED_PRECONDITION for a state of another fingerprint; INVALID_ARGUMENT for a malformed one.
absl::Status LoadState(const std::vector<StageConfig>& stages, const std::string& fingerprint,
                       const std::string& dir, TrainingState* state);

// FAILED_PRECONDITION on every rank when one has another fingerprint than rank 0; the errors of
// Ranks.
absl::Status CheckSameRun(const std::string& fingerprint, Ranks& ranks);

// Gives all ranks the state of rank 0. On the others the layers have the right shapes. The errors
// of Ranks.
absl::Status ShareState(const std::vector<StageConfig>& stages, Ranks& ranks, TrainingState* state);

}  // namespace sieve

#endif  // SIEVE_TRAINER_TRAINING_STATE_H_
