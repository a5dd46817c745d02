#include "server/log/async_log.h"

#include <condition_variable>
#include <csignal>
#include <mutex>
#include <string>
#include <utility>

#include "spdlog/async_logger.h"
#include "spdlog/details/thread_pool.h"
#include "spdlog/sinks/sink.h"

namespace sieve {

// Hands everything to another sink, and tells when a flush came through.
class AsyncLog::Sink : public spdlog::sinks::sink {
 public:
  explicit Sink(std::shared_ptr<spdlog::sinks::sink> inner) : inner_(std::move(inner)) {}

  void log(const spdlog::details::log_msg& message) override { inner_->log(message); }

  void flush() override {
    inner_->flush();
    std::lock_guard lock(mutex_);
    ++flushes_;
    flushed_.notify_all();
  }

  void set_pattern(const std::string& pattern) override { inner_->set_pattern(pattern); }
  void set_formatter(std::unique_ptr<spdlog::formatter> formatter) override {
    inner_->set_formatter(std::move(formatter));
  }

  int64_t flushes() {
    std::lock_guard lock(mutex_);
    return flushes_;
  }

  bool AwaitFlushAfter(int64_t flushes, absl::Duration timeout) {
    std::unique_lock lock(mutex_);
    return flushed_.wait_for(lock, absl::ToChronoNanoseconds(timeout),
                             [&] { return flushes_ > flushes; });
  }

 private:
  const std::shared_ptr<spdlog::sinks::sink> inner_;
  std::mutex mutex_;  // guards the next block
  std::condition_variable flushed_;
  int64_t flushes_ = 0;
};

namespace {

// Its thread takes no signals: the process' own are for others to wait for.
std::shared_ptr<spdlog::details::thread_pool> StartWriter(int64_t max_lines) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  auto writer = std::make_shared<spdlog::details::thread_pool>(max_lines, /*threads_n=*/1);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return writer;
}

}  // namespace

AsyncLog::AsyncLog(std::shared_ptr<spdlog::sinks::sink> sink, LogFormat format,
                   spdlog::level::level_enum level, int64_t max_lines)
    : sink_(std::make_shared<Sink>(std::move(sink))), writer_(StartWriter(max_lines)) {
  sink_->set_formatter(MakeLogFormatter(format));
  const auto make_logger = [&](const char* name) {
    auto logger = std::make_shared<spdlog::async_logger>(
        name, sink_, writer_, spdlog::async_overflow_policy::overrun_oldest);
    logger->set_level(level);
    return logger;
  };
  server_log_ = make_logger("server");
  request_log_ = make_logger(kRequestLoggerName);
}

AsyncLog::~AsyncLog() = default;

int64_t AsyncLog::dropped() const { return static_cast<int64_t>(writer_->overrun_counter()); }

bool AsyncLog::Flush(absl::Duration timeout) {
  const int64_t before = sink_->flushes();
  server_log_->flush();
  return sink_->AwaitFlushAfter(before, timeout);
}

}  // namespace sieve
