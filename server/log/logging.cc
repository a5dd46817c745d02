#include "server/log/logging.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "google/protobuf/stubs/logging.h"
#include "grpc/support/log.h"
#include "server/log/async_log.h"
#include "server/log/descriptor_sink.h"
#include "spdlog/spdlog.h"

namespace sieve {
namespace {

// Some 400 bytes each.
constexpr int64_t kMaxQueuedLines = 4096;

// Neither is ever deleted: gRPC's threads log until the process is gone, and a disk that does not
// answer must not keep it from ending.
DescriptorSink* process_sink = nullptr;
AsyncLog* process_log = nullptr;

}  // namespace

absl::Status SetUpLogging(const LogConfig& config) {
  const spdlog::level::level_enum level = spdlog::level::from_str(config.level);
  if (level == spdlog::level::off && config.level != "off") {
    return absl::InvalidArgumentError(absl::StrCat("--log_level is \"", config.level,
                                                   "\"; expected debug, info, warn, error or off"));
  }
  const auto sink = std::make_shared<DescriptorSink>(STDERR_FILENO);
  process_sink = sink.get();
  process_log = new AsyncLog(sink, config.format, level, kMaxQueuedLines);
  spdlog::set_default_logger(process_log->server_log());
  // They report what remote peers do wrong at their level ERROR; here that is detail.
  gpr_set_log_function([](gpr_log_func_args* args) { spdlog::debug("grpc: {}", args->message); });
  google::protobuf::SetLogHandler(
      [](google::protobuf::LogLevel, const char*, int, const std::string& message) {
        spdlog::debug("protobuf: {}", message);
      });
  return absl::OkStatus();
}

std::shared_ptr<spdlog::logger> RequestLogger() {
  return process_log != nullptr ? process_log->request_log() : nullptr;
}

int64_t LogLinesDropped() {
  return process_log != nullptr ? process_log->dropped() + process_sink->lost() : 0;
}

void FlushLog(absl::Duration timeout) {
  if (process_log != nullptr) process_log->Flush(timeout);
}

}  // namespace sieve
