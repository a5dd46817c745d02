#include "server/log/descriptor_sink.h"

#include <unistd.h>

#include <cerrno>

#include "absl/strings/string_view.h"

namespace sieve {

void DescriptorSink::sink_it_(const spdlog::details::log_msg& message) {
  spdlog::memory_buf_t line;
  formatter_->format(message, line);
  absl::string_view rest(line.data(), line.size());
  while (!rest.empty()) {
    const ssize_t written = write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      ++lost_;
      return;
    }
    rest.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace sieve
