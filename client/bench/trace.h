#ifndef SIEVE_CLIENT_BENCH_TRACE_H_
#define SIEVE_CLIENT_BENCH_TRACE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/bench/options.h"
#include "client/bench/workload.h"

namespace sieve {

// One request of a trace, as the file has it.
struct TraceRow {
  int64_t at_ns = 0;  // after the first row
  int32_t prompt_tokens = 0;
  int32_t generated_tokens = 0;
  std::vector<int64_t> blocks;  // ids of the prompt's blocks of kTraceBlockTokens; may be empty
};

inline constexpr int32_t kTraceBlockTokens = 512;

// Reads, plain or compressed by gzip,
//   Azure's LLM inference traces: CSV with the columns TIMESTAMP,ContextTokens,GeneratedTokens;
//   Mooncake's traces: a JSON object a line with timestamp (ms), input_length, output_length,
//   hash_ids.
// Rows are put in the order of their times. INVALID_ARGUMENT names the file and the line.
absl::StatusOr<std::vector<TraceRow>> ReadTrace(const std::string& path);

// The rows scaled by the options, in time (but for `rate`, which sets the mean rate instead when it
// is above 0) and in length; at least one token each. `trace` must outlive it and not be empty.
std::unique_ptr<Workload> MakeTraceWorkload(const BenchOptions& options,
                                            const std::vector<TraceRow>& trace, double rate,
                                            int run);

}  // namespace sieve

#endif  // SIEVE_CLIENT_BENCH_TRACE_H_
