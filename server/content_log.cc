#include "server/content_log.h"

#include <utility>

#include "server/log/log_fields.h"

namespace sieve {

ContentLog::ContentLog(LogFormat format, std::shared_ptr<spdlog::logger> logger)
    : format_(format), logger_(std::move(logger)) {}

void ContentLog::Prompt(absl::string_view request_id, absl::string_view text) const {
  LogFields fields(format_, "prompt");
  fields.Add("request_id", request_id);
  fields.Add("text", text.substr(0, kMaxTextBytes));
  logger_->info(spdlog::string_view_t(fields.line()));
}

void ContentLog::Completion(absl::string_view request_id, int32_t sample,
                            absl::string_view text) const {
  LogFields fields(format_, "completion");
  fields.Add("request_id", request_id);
  fields.Add("sample", int64_t{sample});
  fields.Add("text", text.substr(0, kMaxTextBytes));
  logger_->info(spdlog::string_view_t(fields.line()));
}

}  // namespace sieve
