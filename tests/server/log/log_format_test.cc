#include "server/log/log_format.h"

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "spdlog/details/log_msg.h"

namespace sieve {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

// 2026-03-01 12:34:56.789 UTC.
constexpr int64_t kMilliseconds = 1772368496789;

std::string Format(LogFormat format, const std::string& logger, const std::string& payload,
                   spdlog::level::level_enum level = spdlog::level::warn) {
  spdlog::details::log_msg message(logger, level, payload);
  message.time = std::chrono::system_clock::time_point(std::chrono::milliseconds(kMilliseconds));
  spdlog::memory_buf_t line;
  MakeLogFormatter(format)->clone()->format(message, line);
  return std::string(line.data(), line.size());
}

TEST(LogFormatTest, TextIsTimeLevelMessage) {
  EXPECT_EQ(Format(LogFormat::kText, "server", "chat is refused"),
            "2026-03-01T12:34:56.789Z warning chat is refused\n");
}

TEST(LogFormatTest, JsonIsOneObjectALine) {
  EXPECT_EQ(Format(LogFormat::kJson, "server", "serving \"tiny\""),
            "{\"time\":\"2026-03-01T12:34:56.789Z\",\"level\":\"warning\",\"msg\":\"serving "
            "\\\"tiny\\\"\"}\n");
  EXPECT_EQ(Format(LogFormat::kJson, kRequestLoggerName, "\"request\",\"code\":\"OK\"",
                   spdlog::level::info),
            "{\"time\":\"2026-03-01T12:34:56.789Z\",\"level\":\"info\",\"msg\":\"request\","
            "\"code\":\"OK\"}\n");
}

// Whatever a message holds, it is one line, and in JSON one object that gives it back.
TEST(LogFormatTest, NoMessageBreaksALine) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string message =
        absl::StrCat("a", std::string(1, static_cast<char>(byte)), "\"}\n{");
    const std::string json = Format(LogFormat::kJson, "server", message);
    EXPECT_EQ(json.find('\n'), json.size() - 1) << byte;
    const auto object = nlohmann::json::parse(json);
    EXPECT_EQ(object.size(), 3) << byte;
    if (byte < 128) {
      EXPECT_EQ(object["msg"], message);
    }
    const std::string text = Format(LogFormat::kText, "server", message);
    EXPECT_EQ(text.find('\n'), text.size() - 1) << byte;
    for (const char c : text.substr(0, text.size() - 1)) {
      EXPECT_GE(static_cast<unsigned char>(c), 0x20);
    }
  }
  EXPECT_THAT(Format(LogFormat::kText, "server", "a\r\n\x1b[31m\x7f"),
              EndsWith("a\\x0d\\x0a\\x1b[31m\\x7f\n"));
  EXPECT_THAT(Format(LogFormat::kJson, "server", "\xff\xfe"), HasSubstr("\\ufffd\\ufffd"));
}

}  // namespace
}  // namespace sieve
