#ifndef SIEVE_CLIENT_BENCH_PROMPT_H_
#define SIEVE_CLIENT_BENCH_PROMPT_H_

#include <cstdint>

#include "client/bench/workload.h"
#include "sieve/v1/generation.pb.h"

namespace sieve {

// Makes prompts of random token ids, the same for the same (seed, run, arrival) and, but for blocks
// that arrivals of one run share, different for different ones: what a run leaves in a server's
// prefix cache does not help the next.
class PromptMaker {
 public:
  // REQUIRES: vocabulary_size >= 1; ids are below it.
  PromptMaker(uint64_t seed, int run, int32_t vocabulary_size)
      : seed_(seed), run_(run), vocabulary_size_(vocabulary_size) {}

  // Sets arrival.prompt_tokens ids.
  void Fill(const Arrival& arrival, v1::TokenIds* prompt) const;

 private:
  const uint64_t seed_;
  const int run_;
  const int32_t vocabulary_size_;
};

}  // namespace sieve

#endif  // SIEVE_CLIENT_BENCH_PROMPT_H_
