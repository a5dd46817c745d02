#ifndef SIEVE_TRAINER_RANK_ENVIRONMENT_H_
#define SIEVE_TRAINER_RANK_ENVIRONMENT_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"

namespace sieve {

// This process among those that were started together.
struct RankEnvironment {
  int rank = 0;
  int ranks = 1;
  int local_rank = 0;  // among those of its machine
  // Where the ranks find each other; used with more than one.
  std::string address;
  int port = 29500;
  // Whether who started them listens there, and else rank 0 does. Those of one attempt meet.
  bool is_served = false;
  std::string attempt;
};

// A variable's value, or null.
using GetVariable = std::function<const char*(const char* name)>;

// Which rank this is, as torchrun says (RANK, WORLD_SIZE, LOCAL_RANK), or else Slurm's srun
// (SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID), or else an indexed job of Kubernetes
// (JOB_COMPLETION_INDEX, beside which WORLD_SIZE is to be set); without any, a process of its own.
// With several ranks MASTER_ADDR is where rank 0 is (under Slurm, the machine that launched them
// unless set), MASTER_PORT the port. INVALID_ARGUMENT, naming the variable, for what is missing or
// malformed.
absl::StatusOr<RankEnvironment> ReadRankEnvironment(const GetVariable& get);

}  // namespace sieve

#endif  // SIEVE_TRAINER_RANK_ENVIRONMENT_H_
