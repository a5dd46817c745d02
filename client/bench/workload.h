#ifndef SIEVE_CLIENT_BENCH_WORKLOAD_H_
#define SIEVE_CLIENT_BENCH_WORKLOAD_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "client/bench/options.h"
#include "client/bench/random.h"

namespace sieve {

// One request that is to be sent.
struct Arrival {
  int64_t index = 0;  // in the run, from 0
  int64_t at_ns = 0;  // after the start of the run; never less than that of the one before
  int32_t prompt_tokens = 0;
  int32_t max_tokens = 0;
  // The prompt's beginning in blocks of `block_tokens`: equal numbers stand for equal tokens.
  std::vector<int64_t> blocks;
  int32_t block_tokens = 0;
  int32_t tenant = -1;           // index among the tenants
  int64_t cancel_after_ns = -1;  // after it was sent; -1: never
};

// The requests of one run, in order of their arrival. All are settled by the options and the seed
// alone: nothing that the server does changes one.
class Workload {
 public:
  virtual ~Workload() = default;
  // Nothing when there are no more.
  virtual std::optional<Arrival> Next() = 0;
};

// Lengths drawn evenly from the options' ranges; arrivals a Poisson process or evenly spaced, at
// `rate` requests a second (infinity: all at 0, for a closed loop). Endless. `run` tells the runs
// of a sweep apart, which have different arrivals.
std::unique_ptr<Workload> MakeSyntheticWorkload(const BenchOptions& options, double rate, int run);

// Draws who asks and what is cancelled: what all kinds of workload have in common.
class ArrivalDecorator {
 public:
  ArrivalDecorator(const BenchOptions& options, int run);
  void Decorate(Arrival* arrival);

 private:
  const int64_t num_tenants_;
  const double cancel_fraction_;
  const DurationRange cancel_after_;
  Rng tenant_draws_, cancel_draws_;
};

}  // namespace sieve

#endif  // SIEVE_CLIENT_BENCH_WORKLOAD_H_
