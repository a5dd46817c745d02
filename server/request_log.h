#ifndef SIEVE_SERVER_REQUEST_LOG_H_
#define SIEVE_SERVER_REQUEST_LOG_H_

#include <memory>

#include "server/engine.h"
#include "server/log/log_format.h"
#include "server/refused_request.h"
#include "spdlog/logger.h"

namespace sieve {

// One line for each request: who, how it ended, sizes and times; never what it said. Requests that
// failed for a reason of the server's own are logged as errors. docs/metrics.md lists the fields.
class RequestLog final : public EngineObserver {
 public:
  // `logger` is an AsyncLog's request_log() of the same format.
  RequestLog(LogFormat format, std::shared_ptr<spdlog::logger> logger);

  void OnEnd(const RequestRecord& record) override;
  void OnRefused(const RefusedRequest& request);  // thread-safe

 private:
  const LogFormat format_;
  const std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_REQUEST_LOG_H_
