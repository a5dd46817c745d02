#include "server/log/log_format.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "spdlog/pattern_formatter.h"

namespace sieve {
namespace {

void Append(absl::string_view text, spdlog::memory_buf_t* line) {
  line->append(text.data(), text.data() + text.size());
}

class JsonFormatter : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override {
    const spdlog::string_view_t level = spdlog::level::to_string_view(message.level);
    Append(absl::StrCat("{\"time\":\"",
                        absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromChrono(message.time),
                                         absl::UTCTimeZone()),
                        "\",\"level\":\"", absl::string_view(level.data(), level.size()),
                        "\",\"msg\":"),
           &line);
    const absl::string_view payload(message.payload.data(), message.payload.size());
    if (message.logger_name == spdlog::string_view_t(kRequestLoggerName)) {
      Append(payload, &line);
    } else {
      Append(nlohmann::json(std::string(payload))
                 .dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace),
             &line);
    }
    Append("}\n", &line);
  }

  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

bool IsControl(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7f;
}

std::string ShowControls(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (IsControl(c)) {
      absl::StrAppend(&out, "\\x", absl::BytesToHexString(absl::string_view(&c, 1)));
    } else {
      out += c;
    }
  }
  return out;
}

class TextFormatter : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override {
    if (std::none_of(message.payload.begin(), message.payload.end(), IsControl)) {
      pattern_.format(message, line);
      return;
    }
    const std::string shown =
        ShowControls(absl::string_view(message.payload.data(), message.payload.size()));
    spdlog::details::log_msg copy = message;
    copy.payload = shown;
    pattern_.format(copy, line);
    message.color_range_start = copy.color_range_start;
    message.color_range_end = copy.color_range_end;
  }

  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<TextFormatter>();
  }

 private:
  spdlog::pattern_formatter pattern_{"%Y-%m-%dT%H:%M:%S.%eZ %^%l%$ %v",
                                     spdlog::pattern_time_type::utc};
};

}  // namespace

std::unique_ptr<spdlog::formatter> MakeLogFormatter(LogFormat format) {
  if (format == LogFormat::kJson) return std::make_unique<JsonFormatter>();
  return std::make_unique<TextFormatter>();
}

}  // namespace sieve
