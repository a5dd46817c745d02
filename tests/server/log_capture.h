#ifndef SIEVE_TESTS_SERVER_LOG_CAPTURE_H_
#define SIEVE_TESTS_SERVER_LOG_CAPTURE_H_

#include <functional>
#include <mutex>
#include <string>
#include <utility>

#include "spdlog/sinks/base_sink.h"

namespace sieve {

// Keeps what is logged. Each line first runs a hook, which may wait.
class LogCapture : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit LogCapture(std::function<void()> hook = [] {}) : hook_(std::move(hook)) {}

  std::string text() {
    std::lock_guard lock(mutex_);
    return text_;
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    hook_();
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    text_.append(line.data(), line.size());
  }
  void flush_() override {}

 private:
  const std::function<void()> hook_;
  std::string text_;
};

}  // namespace sieve

#endif  // SIEVE_TESTS_SERVER_LOG_CAPTURE_H_
