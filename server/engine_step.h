#ifndef SIEVE_SERVER_ENGINE_STEP_H_
#define SIEVE_SERVER_ENGINE_STEP_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "server/engine_observer.h"
#include "server/scheduler.h"

namespace sieve {

// A step from its plan until its results are handed out.
struct EngineStep {
  struct Part {
    Chunk chunk;
    // 1 where the chunk wants logits; at the end of a prompt one for each sample, from the chunk's
    // on.
    int32_t num_draws = 0;
  };
  std::vector<Part> parts;
  int64_t started_tokens = 0;  // of the prompts of the groups that start with it
  absl::Time planned, submitted;
  StepRecord record;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_ENGINE_STEP_H_
