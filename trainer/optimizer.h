#ifndef SIEVE_TRAINER_OPTIMIZER_H_
#define SIEVE_TRAINER_OPTIMIZER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/torch_ops.h"

namespace sieve {

// A tensor that is trained, with its moments; all float32 of one shape.
struct Parameter {
  std::string name;
  at::Tensor value;  // requires a gradient
  at::Tensor first, second;
  double rate = 0;  // its learning rate at the peak of the schedule
};

struct OptimizerOptions {
  double beta1 = 0.9;
  double beta2 = 0.98;
  double epsilon = 1e-8;
  double weight_decay = 0;
  double clip = 1;  // largest norm of all gradients together
};

// Linear from 0 over the first 5 % of the steps, then half a cosine down to a tenth.
double ScheduleAt(int64_t step, int64_t steps);

// Step number `step` (from 0) of AdamW (https://arxiv.org/abs/1711.05101) with the gradients that
// are in the values, which it takes away. Returns their norm before clipping; when that is not
// finite nothing is changed.
double AdamWStep(const OptimizerOptions& options, int64_t step, double schedule,
                 std::vector<Parameter>* parameters);

}  // namespace sieve

#endif  // SIEVE_TRAINER_OPTIMIZER_H_
