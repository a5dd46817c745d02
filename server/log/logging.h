#ifndef SIEVE_SERVER_LOG_LOGGING_H_
#define SIEVE_SERVER_LOG_LOGGING_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/log/log_format.h"
#include "spdlog/logger.h"

namespace sieve {

struct LogConfig {
  std::string level = "info";  // debug, info, warn, error or off
  LogFormat format = LogFormat::kText;
};

// Sends the whole process's log to stderr, what gRPC and protobuf say included, through an
// AsyncLog. INVALID_ARGUMENT for a level that is not one. Once, before other threads log.
absl::Status SetUpLogging(const LogConfig& config);

// Of that log. Null and zero before it is set up.
std::shared_ptr<spdlog::logger> RequestLogger();
int64_t LogLinesDropped();  // for the queue was full, or they could not be written

// Waits until what was logged is written, or for `timeout`. Before the process ends: what is not
// written then is lost.
void FlushLog(absl::Duration timeout);

}  // namespace sieve

#endif  // SIEVE_SERVER_LOG_LOGGING_H_
