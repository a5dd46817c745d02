#ifndef SIEVE_CLIENT_BENCH_CLIPPED_WORKLOAD_H_
#define SIEVE_CLIENT_BENCH_CLIPPED_WORKLOAD_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "client/bench/workload.h"

namespace sieve {

// Cuts lengths to what a server takes: a prompt keeps its beginning, then the output what the
// context has left.
class ClippedWorkload final : public Workload {
 public:
  struct Limits {
    int32_t prompt_tokens;     // at least 1
    int32_t generated_tokens;  // at least 1
    int32_t context_tokens;    // both together; above prompt_tokens
  };

  ClippedWorkload(std::unique_ptr<Workload> workload, const Limits& limits)
      : workload_(std::move(workload)), limits_(limits) {}

  std::optional<Arrival> Next() override;
  // Of the arrivals so far, those that were cut.
  int64_t clipped() const { return clipped_; }

 private:
  const std::unique_ptr<Workload> workload_;
  const Limits limits_;
  int64_t clipped_ = 0;
};

}  // namespace sieve

#endif  // SIEVE_CLIENT_BENCH_CLIPPED_WORKLOAD_H_
