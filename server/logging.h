#ifndef SIEVE_SERVER_LOGGING_H_
#define SIEVE_SERVER_LOGGING_H_

#include <string>

#include "absl/status/status.h"

namespace sieve {

struct LogConfig {
  std::string level = "info";  // debug, info, warn, error or off
};

// Sends the whole process's log to stderr, what gRPC and protobuf say included. INVALID_ARGUMENT
// for a level that is not one. Once, before there are other threads.
absl::Status SetUpLogging(const LogConfig& config);

}  // namespace sieve

#endif  // SIEVE_SERVER_LOGGING_H_
