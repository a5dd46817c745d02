#include "server/request_log.h"

#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/log/async_log.h"
#include "server/refusal.h"
#include "tests/server/log_capture.h"

namespace sieve {
namespace {

using nlohmann::json;
using testing::EndsWith;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

constexpr char kTraceId[] = "0af7651916cd43dd8448eb211c80319c";
constexpr char kSpanId[] = "b7ad6b7169203331";

class RequestLogTest : public testing::Test {
 protected:
  RequestLogTest() {
    request_.id = "req-1";
    request_.tenant = "blue";
    request_.num_samples = 2;
    request_.priority = -3;
    request_.traceparent = absl::StrCat("00-", kTraceId, "-", kSpanId, "-01");
  }

  RequestRecord Record(const absl::Status& status) const {
    RequestRecord record{.request = request_, .status = status};
    record.phase = RequestPhase::kDecode;
    record.prompt_tokens = 100;
    record.cached_prompt_tokens = 64;
    record.generated_tokens = 37;
    record.preemptions = 1;
    record.queue = absl::Milliseconds(5);
    record.prefill = absl::Milliseconds(250);
    record.time_to_first_token = absl::Milliseconds(255);
    record.decode = absl::Milliseconds(1500);
    record.end_to_end = absl::Milliseconds(1755);
    record.peak_cache_bytes = 1 << 20;
    record.page_seconds = 3.5;
    record.reads = {1000, 250, 3000, 400, 50};
    return record;
  }

  // What `act` logs.
  template <typename Act>
  std::string Logged(LogFormat format, Act act,
                     spdlog::level::level_enum level = spdlog::level::info) const {
    const auto sink = std::make_shared<LogCapture>();
    AsyncLog log(sink, format, level, 100);
    RequestLog requests(format, log.request_log());
    act(&requests);
    EXPECT_TRUE(log.Flush(absl::Seconds(30)));
    return sink->text();
  }

  std::string LoggedEnd(LogFormat format, const RequestRecord& record) const {
    return Logged(format, [&](RequestLog* log) { log->OnEnd(record); });
  }

  GenerationRequest request_;
};

TEST_F(RequestLogTest, NamesTheAdapterWhereThereIsOne) {
  const absl::Status ok;
  EXPECT_FALSE(json::parse(LoggedEnd(LogFormat::kJson, Record(ok))).contains("adapter"));
  request_.adapter = std::make_shared<const ServedAdapter>(ServedAdapter{.name = "sparse"});
  EXPECT_EQ(json::parse(LoggedEnd(LogFormat::kJson, Record(ok)))["adapter"], "sparse");
}

TEST_F(RequestLogTest, AJsonLineHasEveryField) {
  const absl::Status ok;
  json line = json::parse(LoggedEnd(LogFormat::kJson, Record(ok)));
  EXPECT_THAT(line["time"].get<std::string>(), MatchesRegex("20..-..-..T..:..:......Z"));
  line.erase("time");
  EXPECT_EQ(line, json({{"level", "info"},
                        {"msg", "request"},
                        {"request_id", "req-1"},
                        {"tenant", "blue"},
                        {"code", "OK"},
                        {"phase", "decode"},
                        {"prompt_tokens", 100},
                        {"cached_prompt_tokens", 64},
                        {"generated_tokens", 37},
                        {"num_samples", 2},
                        {"priority", -3},
                        {"queue_s", 0.005},
                        {"prefill_s", 0.25},
                        {"ttft_s", 0.255},
                        {"decode_s", 1.5},
                        {"total_s", 1.755},
                        {"peak_cache_bytes", 1 << 20},
                        {"page_seconds", 3.5},
                        {"density", 0.25},
                        {"cache_bytes_read", 3450},
                        {"preemptions", 1},
                        {"trace_id", kTraceId},
                        {"span_id", kSpanId}}));
}

TEST_F(RequestLogTest, ATextLineHasTheSameFields) {
  const absl::Status ok;
  EXPECT_THAT(
      LoggedEnd(LogFormat::kText, Record(ok)),
      EndsWith(absl::StrCat(
          "info request request_id=req-1 tenant=blue code=OK phase=decode prompt_tokens=100 "
          "cached_prompt_tokens=64 generated_tokens=37 num_samples=2 priority=-3 queue_s=0.005 "
          "prefill_s=0.25 ttft_s=0.255 decode_s=1.5 total_s=1.755 peak_cache_bytes=1048576 "
          "page_seconds=3.5 density=0.25 cache_bytes_read=3450 "
          "preemptions=1 trace_id=",
          kTraceId, " span_id=", kSpanId, "\n")));
}

TEST_F(RequestLogTest, WhatIsNotKnownIsLeftOut) {
  request_.traceparent.clear();
  const absl::Status ok;
  RequestRecord record = Record(ok);
  record.time_to_first_token.reset();
  record.reads = {};
  const json line = json::parse(LoggedEnd(LogFormat::kJson, record));
  for (const char* name :
       {"ttft_s", "trace_id", "span_id", "error", "density", "cache_bytes_read"}) {
    EXPECT_FALSE(line.contains(name)) << name;
  }
}

TEST_F(RequestLogTest, FailuresSayWhyAndThoseOfTheServerAreErrors) {
  const absl::Status expired = absl::DeadlineExceededError("too late");
  json line = json::parse(LoggedEnd(LogFormat::kJson, Record(expired)));
  EXPECT_EQ(line["level"], "info");
  EXPECT_EQ(line["code"], "DEADLINE_EXCEEDED");
  EXPECT_EQ(line["error"], "too late");
  const absl::Status internal = absl::InternalError("NaN");
  line = json::parse(LoggedEnd(LogFormat::kJson, Record(internal)));
  EXPECT_EQ(line["level"], "error");
  EXPECT_EQ(line["code"], "INTERNAL");
}

TEST_F(RequestLogTest, ARefusedRequestHasItsReason) {
  const absl::Status full =
      Refusal(absl::ResourceExhaustedError("the queue is full"), RefusalReason::kQueueFull);
  json line = json::parse(Logged(LogFormat::kJson, [&](RequestLog* log) {
    log->OnRefused({.status = full, .request_id = "r", .tenant = "t"});
  }));
  line.erase("time");
  EXPECT_EQ(line, json({{"level", "info"},
                        {"msg", "request"},
                        {"request_id", "r"},
                        {"tenant", "t"},
                        {"code", "RESOURCE_EXHAUSTED"},
                        {"phase", "admission"},
                        {"reason", "queue_full"},
                        {"error", "the queue is full"}}));
}

TEST_F(RequestLogTest, AnIdOfAnyLengthIsCut) {
  const absl::Status invalid = absl::InvalidArgumentError("request_id is too long");
  const std::string id(1000000, 'x');
  const std::string text = Logged(LogFormat::kJson, [&](RequestLog* log) {
    log->OnRefused({.status = invalid, .request_id = id});
  });
  EXPECT_EQ(json::parse(text)["request_id"], id.substr(0, 128));
  EXPECT_LT(text.size(), 500);
}

// Not a number is no JSON.
TEST_F(RequestLogTest, EveryNumberCanBeParsed) {
  const absl::Status ok;
  RequestRecord record = Record(ok);
  record.page_seconds = std::numeric_limits<double>::infinity();
  record.end_to_end = absl::Hours(1000);
  const json line = json::parse(LoggedEnd(LogFormat::kJson, record));
  EXPECT_TRUE(line["page_seconds"].is_null());
  EXPECT_EQ(line["total_s"], 3600000.0);
}

// Names that callers choose, and messages that quote them, stay inside their field.
TEST_F(RequestLogTest, UntrustedTextStaysInItsField) {
  const std::string evil = "x\",\"code\":\"OK\"}\n{\"a\xff\x01 code=OK";
  request_.id = evil;
  request_.tenant = evil;
  request_.traceparent = "00-short";
  const absl::Status status = absl::InternalError(evil);
  const std::string text = LoggedEnd(LogFormat::kJson, Record(status));
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  const json line = json::parse(text);
  EXPECT_EQ(line["code"], "INTERNAL");
  EXPECT_EQ(line["tenant"], line["request_id"]);
  EXPECT_EQ(line["tenant"], line["error"]);
  EXPECT_FALSE(line.contains("a"));

  const std::string plain = LoggedEnd(LogFormat::kText, Record(status));
  EXPECT_EQ(plain.find('\n'), plain.size() - 1);
  EXPECT_THAT(plain, HasSubstr("tenant=\"x\\\",\\\"code\\\":\\\"OK\\\"}\\n{\\\"a\\ufffd\\u0001 "
                               "code=OK\" code=INTERNAL"));
}

TEST_F(RequestLogTest, NeverHoldsWhatWasSaid) {
  const std::string secret = "4242424242";
  request_.prompt = {42424};
  request_.stop_texts = {secret};
  request_.stop_token_ids = {42424};
  const absl::Status ok;
  for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
    EXPECT_THAT(LoggedEnd(format, Record(ok)), Not(HasSubstr("42424")));
  }
}

TEST_F(RequestLogTest, EveryFieldIsDocumented) {
  std::ifstream file("docs/metrics.md");
  const std::string document(std::istreambuf_iterator<char>(file), {});
  const absl::Status internal = absl::InternalError("NaN");
  const std::string ended = LoggedEnd(LogFormat::kJson, Record(internal));
  const std::string refused =
      Logged(LogFormat::kJson, [&](RequestLog* log) { log->OnRefused({.status = internal}); });
  for (const std::string& line : {ended, refused}) {
    const json object = json::parse(line);
    for (const auto& [name, value] : object.items()) {
      EXPECT_THAT(document, HasSubstr(absl::StrCat("| `", name, "` |")));
    }
  }
}

TEST_F(RequestLogTest, IsQuietAboveTheLevel) {
  const absl::Status ok;
  const absl::Status internal = absl::InternalError("NaN");
  const std::string text = Logged(
      LogFormat::kJson,
      [&](RequestLog* log) {
        log->OnEnd(Record(ok));
        log->OnEnd(Record(internal));
      },
      spdlog::level::warn);
  EXPECT_EQ(json::parse(text)["code"], "INTERNAL");
}

}  // namespace
}  // namespace sieve
