#ifndef SIEVE_TRAINER_CONNECT_RANKS_H_
#define SIEVE_TRAINER_CONNECT_RANKS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "trainer/rank_environment.h"
#include "trainer/ranks.h"

namespace sieve {

// Joins the ranks; returns when all have come. Tensors on the CPU go through c10d's gloo group,
// those on a GPU, which must be on `device`, through NCCL. No rank waits longer than `timeout` for
// another (gloo notices at once when one ends): UNAVAILABLE. GLOO_SOCKET_IFNAME chooses the network
// interface. A process of its own needs nothing and is given at once.
absl::StatusOr<std::unique_ptr<Ranks>> ConnectRanks(const RankEnvironment& environment,
                                                    at::Device device, absl::Duration timeout);

}  // namespace sieve

#endif  // SIEVE_TRAINER_CONNECT_RANKS_H_
