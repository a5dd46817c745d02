#ifndef SIEVE_TRAINER_TRAIN_H_
#define SIEVE_TRAINER_TRAIN_H_

#include <atomic>
#include <cstdint>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "model/adapter/adapter_config.h"
#include "trainer/llama.h"
#include "trainer/ranks.h"
#include "trainer/run_config.h"
#include "trainer/token_file.h"

namespace sieve {

struct TrainingJob {
  const FrozenLlama* llama = nullptr;
  AdapterConfig adapter;
  const RunConfig* run = nullptr;
  const TokenFile* corpus = nullptr;
  // Gets adapter/ (what the server reads), state/ (to go on from), what RunLog writes, and
  // probe.json (see ProbeJson) after each stage.
  std::string out;
  std::ostream* progress = nullptr;         // a line for people, a few times a minute
  const std::atomic<bool>* stop = nullptr;  // set: save and return
  // The processes that share the work: each step's sequences are divided among them, rank 0 writes
  // the files, and one that is stopped stops all. Null: this one alone.
  Ranks* ranks = nullptr;
};

// Trains an adapter, or goes on where `out` was left. Without a state it begins with Calibrate. The
// state is saved every checkpoint_minutes, after each stage and when stopped.
//
// CANCELLED when it was stopped. ABORTED when a loss or a gradient is not finite or the loss
// diverges, with the step, its sequences and the state that was saved last. UNAVAILABLE when
// another rank is gone. Other errors are those of the files.
absl::Status Train(const TrainingJob& job);

}  // namespace sieve

#endif  // SIEVE_TRAINER_TRAIN_H_
