#ifndef SIEVE_MODEL_ATTENTION_CANDIDATE_BLOCKS_H_
#define SIEVE_MODEL_ATTENTION_CANDIDATE_BLOCKS_H_

#include <algorithm>
#include <cstdint>

#include "model/adapter/adapter_config.h"

namespace sieve {

// The blocks that a token in block `own` chooses among: [begin, end). It reads all others up to its
// own exactly. The same for every layer, head and token of the block.
struct CandidateBlocks {
  CandidateBlocks(const AdapterConfig& config, int64_t own)
      : begin(std::min(config.sink_blocks, own)),
        end(std::max(begin, own - config.window_blocks)) {}

  int64_t count() const { return end - begin; }

  int64_t begin, end;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_ATTENTION_CANDIDATE_BLOCKS_H_
