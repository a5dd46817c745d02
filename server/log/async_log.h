#ifndef SIEVE_SERVER_LOG_ASYNC_LOG_H_
#define SIEVE_SERVER_LOG_ASYNC_LOG_H_

#include <cstdint>
#include <memory>

#include "absl/time/time.h"
#include "server/log/log_format.h"
#include "spdlog/common.h"
#include "spdlog/logger.h"

namespace spdlog::details {
class thread_pool;
}

namespace sieve {

// A log whose lines are written by a thread of its own. Whoever logs never waits for the sink: when
// it is slow, and `max_lines` are waiting, the oldest of them are dropped, and counted.
// Thread-safe.
class AsyncLog {
 public:
  AsyncLog(std::shared_ptr<spdlog::sinks::sink> sink, LogFormat format,
           spdlog::level::level_enum level, int64_t max_lines);
  ~AsyncLog();  // waits until what is queued is written
  AsyncLog(const AsyncLog&) = delete;
  AsyncLog& operator=(const AsyncLog&) = delete;

  const std::shared_ptr<spdlog::logger>& server_log() const { return server_log_; }
  // Lines of requests: see kRequestLoggerName.
  const std::shared_ptr<spdlog::logger>& request_log() const { return request_log_; }

  int64_t dropped() const;

  // Waits until all that was logged before is written, or for `timeout`; whether it is.
  bool Flush(absl::Duration timeout);

 private:
  class Sink;

  const std::shared_ptr<Sink> sink_;
  std::shared_ptr<spdlog::details::thread_pool> writer_;
  std::shared_ptr<spdlog::logger> server_log_;
  std::shared_ptr<spdlog::logger> request_log_;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_LOG_ASYNC_LOG_H_
