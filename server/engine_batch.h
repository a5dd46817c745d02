#ifndef SIEVE_SERVER_ENGINE_BATCH_H_
#define SIEVE_SERVER_ENGINE_BATCH_H_

#include <cstdint>
#include <vector>

#include "model/language_model.h"
#include "server/scheduler.h"

namespace sieve {

// Turns a step plan into the arrays that a model reads; one sequence a chunk, one row of logits for
// each chunk that wants them, in the plan's order. Keeps its memory from step to step.
class EngineBatch {
 public:
  // The result points into this object and is valid until the next call.
  Batch Build(const StepPlan& plan, const Scheduler& scheduler);

 private:
  std::vector<int32_t> tokens_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> offsets_;
  std::vector<int32_t> block_tables_;
  std::vector<int32_t> logit_rows_;
  std::vector<int32_t> adapters_;
  std::vector<int32_t> prompt_tokens_;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_ENGINE_BATCH_H_
