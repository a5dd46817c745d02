#include "server/content_log.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "server/log/async_log.h"
#include "tests/server/log_capture.h"

namespace sieve {
namespace {

using nlohmann::json;

TEST(ContentLogTest, PromptsAndCompletionsStandUnderTheirRequest) {
  const auto sink = std::make_shared<LogCapture>();
  AsyncLog log(sink, LogFormat::kJson, spdlog::level::info, 100);
  const ContentLog contents(LogFormat::kJson, log.request_log());
  const std::string evil = "two\nlines \"quoted\" \xff";
  contents.Prompt("r", evil);
  contents.Completion("r", 3, std::string(ContentLog::kMaxTextBytes + 1, 'x'));
  ASSERT_TRUE(log.Flush(absl::Seconds(30)));
  const std::vector<std::string> lines = absl::StrSplit(sink->text(), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 2);
  json prompt = json::parse(lines[0]);
  prompt.erase("time");
  EXPECT_EQ(prompt, json({{"level", "info"},
                          {"msg", "prompt"},
                          {"request_id", "r"},
                          {"text", "two\nlines \"quoted\" \xef\xbf\xbd"}}));
  const json completion = json::parse(lines[1]);
  EXPECT_EQ(completion["msg"], "completion");
  EXPECT_EQ(completion["sample"], 3);
  EXPECT_EQ(completion["text"], std::string(ContentLog::kMaxTextBytes, 'x'));
}

}  // namespace
}  // namespace sieve
