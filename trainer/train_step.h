#ifndef SIEVE_TRAINER_TRAIN_STEP_H_
#define SIEVE_TRAINER_TRAIN_STEP_H_

#include <atomic>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/adapter/adapter_config.h"
#include "trainer/distill.h"
#include "trainer/llama.h"
#include "trainer/ranks.h"
#include "trainer/run_config.h"
#include "trainer/sequences.h"
#include "trainer/token_file.h"
#include "trainer/training_state.h"

namespace sieve {

struct StepInputs {
  const FrozenLlama* llama = nullptr;
  const AdapterConfig* adapter = nullptr;
  const RunConfig* run = nullptr;
  const TokenFile* corpus = nullptr;
  Ranks* ranks = nullptr;
  const std::atomic<bool>* stop = nullptr;  // whether this rank is to stop; may be null
};

struct StepResult {
  // Means over what all ranks have: tokens, for the selector queries with candidates, for the task
  // answers.
  DistillLosses losses;
  double gradient_norm = 0;
  int64_t tokens = 0;    // of all ranks, without padding
  bool stopped = false;  // whether any rank is to stop
};

// One step of the state's stage, on `packs`, of which each rank takes its share: every ranks-th of
// the parts of sequences_at_once packs. Afterwards all ranks have the same state. The errors of
// Ranks.
absl::StatusOr<StepResult> TrainStep(const StepInputs& in, absl::Span<const Pack> packs,
                                     int64_t selected_blocks, TrainingState* state);

}  // namespace sieve

#endif  // SIEVE_TRAINER_TRAIN_STEP_H_
