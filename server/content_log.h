#ifndef SIEVE_SERVER_CONTENT_LOG_H_
#define SIEVE_SERVER_CONTENT_LOG_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/strings/string_view.h"
#include "server/log/log_format.h"
#include "spdlog/logger.h"

namespace sieve {

// Prompts and completions, for operators who ask for them: lines `prompt` and `completion` with the
// request's id. Longer texts are cut off. Thread-safe.
class ContentLog {
 public:
  static constexpr size_t kMaxTextBytes = 16 << 10;

  // `logger` is an AsyncLog's request_log() of the same format.
  ContentLog(LogFormat format, std::shared_ptr<spdlog::logger> logger);

  void Prompt(absl::string_view request_id, absl::string_view text) const;
  void Completion(absl::string_view request_id, int32_t sample, absl::string_view text) const;

 private:
  const LogFormat format_;
  const std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_CONTENT_LOG_H_
