#ifndef SIEVE_SERVER_PROCESS_COLLECTOR_H_
#define SIEVE_SERVER_PROCESS_COLLECTOR_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "prometheus/collectable.h"

namespace sieve {

// What the kernel says of this process.
struct ProcessStats {
  int64_t resident_bytes = 0;
  int64_t open_fds = 0;
  int64_t max_fds = 0;  // soft limit
  int64_t threads = 0;
  double cpu_seconds = 0;         // user and system, all threads
  double start_time_seconds = 0;  // Unix time
};

// `proc` is where procfs is mounted. UNAVAILABLE when it does not tell.
absl::StatusOr<ProcessStats> ReadProcessStats(const std::string& proc = "/proc");

// The process_* metrics that Prometheus' own clients have; none of them where procfs does not tell.
std::shared_ptr<prometheus::Collectable> MakeProcessCollector(std::string proc = "/proc");

}  // namespace sieve

#endif  // SIEVE_SERVER_PROCESS_COLLECTOR_H_
