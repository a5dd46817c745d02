#ifndef SIEVE_SERVER_LOG_DESCRIPTOR_SINK_H_
#define SIEVE_SERVER_LOG_DESCRIPTOR_SINK_H_

#include <atomic>
#include <cstdint>
#include <mutex>

#include "spdlog/sinks/base_sink.h"

namespace sieve {

// Writes lines to a file descriptor, without the C library's FILE: its lock, held by a write to a
// disk that does not answer, would keep the process from ending.
class DescriptorSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit DescriptorSink(int descriptor) : descriptor_(descriptor) {}  // stays open

  // Lines that could not be written, or not whole: a full disk, a reader that is gone.
  int64_t lost() const { return lost_; }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override;
  void flush_() override {}

 private:
  const int descriptor_;
  std::atomic<int64_t> lost_ = 0;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_LOG_DESCRIPTOR_SINK_H_
