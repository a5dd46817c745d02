#include "server/metrics.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/refusal.h"
#include "tests/server/scrape.h"

namespace sieve {
namespace {

using testing::Each;
using testing::EndsWith;
using testing::HasSubstr;
using testing::SizeIs;

class MetricsTest : public testing::Test {
 protected:
  std::string Text() const { return Serialize({metrics_.registry()}); }

  // Lines of the family, without comments.
  std::vector<std::string> Lines(const std::string& prefix) const {
    std::vector<std::string> lines;
    for (const absl::string_view line : absl::StrSplit(Text(), '\n')) {
      if (absl::StartsWith(line, prefix)) lines.emplace_back(line);
    }
    return lines;
  }

  void End(const absl::Status& status, RequestPhase phase, int64_t generated_tokens = 0) {
    RequestRecord record{.request = request_, .status = status};
    record.phase = phase;
    record.generated_tokens = generated_tokens;
    record.prompt_tokens = 20;
    record.queue = absl::Milliseconds(3);
    record.prefill = absl::Milliseconds(40);
    record.decode = absl::Milliseconds(700);
    record.end_to_end = absl::Milliseconds(743);
    record.peak_cache_bytes = 100000;
    metrics_.OnEnd(record);
  }

  const GenerationRequest request_;
  Metrics metrics_;
};

TEST_F(MetricsTest, EverySeriesExistsFromTheStart) {
  EXPECT_THAT(Lines("sieve_requests_total{"), SizeIs(17));
  EXPECT_THAT(Lines("sieve_wasted_tokens_total{"), SizeIs(16));  // all codes but OK
  EXPECT_THAT(Lines("sieve_admission_rejections_total{"), SizeIs(kNumRefusalReasons));
  EXPECT_THAT(Lines("sieve_deadline_expiries_total{"), SizeIs(3));
  EXPECT_THAT(Lines("sieve_engine_step_seconds_count{"), SizeIs(3));
  for (const char* name :
       {"sieve_requests_total{", "sieve_wasted_tokens_total{", "sieve_admission_rejections_total{",
        "sieve_deadline_expiries_total{", "sieve_engine_step_seconds_count{"}) {
    EXPECT_THAT(Lines(name), Each(EndsWith(" 0")));
  }
  EXPECT_THAT(Text(), HasSubstr("sieve_requests_total{code=\"RESOURCE_EXHAUSTED\"} 0\n"));
  EXPECT_THAT(Text(), HasSubstr("sieve_build_info{"));
}

TEST_F(MetricsTest, NoSeriesIsAddedWhateverHappens) {
  const size_t before = Lines("").size();
  for (int code = 0; code < 20; ++code) {  // some of them unknown
    const absl::Status status(static_cast<absl::StatusCode>(code), "m");
    End(status, RequestPhase::kDecode, 1);
    metrics_.OnRefused(status);
  }
  EXPECT_EQ(Lines("").size(), before);
}

TEST_F(MetricsTest, RequestsAreCountedByCode) {
  End(absl::OkStatus(), RequestPhase::kDecode);
  End(absl::OkStatus(), RequestPhase::kDecode);
  End(absl::CancelledError(""), RequestPhase::kQueue);
  metrics_.OnRefused(absl::InvalidArgumentError(""));
  const std::string text = Text();
  EXPECT_THAT(text, HasSubstr("sieve_requests_total{code=\"OK\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("sieve_requests_total{code=\"CANCELLED\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("sieve_requests_total{code=\"INVALID_ARGUMENT\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("sieve_requests_total{code=\"NOT_FOUND\"} 0\n"));
}

TEST_F(MetricsTest, TokensOfRequestsThatFailAreWasted) {
  End(absl::OkStatus(), RequestPhase::kDecode, 100);
  End(absl::CancelledError(""), RequestPhase::kDecode, 7);
  End(absl::CancelledError(""), RequestPhase::kDecode, 5);
  End(absl::DeadlineExceededError(""), RequestPhase::kDecode, 3);
  const std::string text = Text();
  EXPECT_THAT(text, HasSubstr("sieve_wasted_tokens_total{code=\"CANCELLED\"} 12\n"));
  EXPECT_THAT(text, HasSubstr("sieve_wasted_tokens_total{code=\"DEADLINE_EXCEEDED\"} 3\n"));
}

TEST_F(MetricsTest, RefusalsAreCountedByTheirReason) {
  for (int i = 0; i < kNumRefusalReasons; ++i) {
    const auto reason = static_cast<RefusalReason>(i);
    for (int times = 0; times <= i; ++times) {
      metrics_.OnRefused(Refusal(absl::UnavailableError(""), reason));
    }
  }
  for (int i = 0; i < kNumRefusalReasons; ++i) {
    EXPECT_THAT(Text(), HasSubstr(absl::StrCat("sieve_admission_rejections_total{reason=\"",
                                               NameOf(static_cast<RefusalReason>(i)), "\"} ", i + 1,
                                               "\n")));
  }
}

TEST_F(MetricsTest, ExpiriesAreCountedByPhase) {
  End(absl::DeadlineExceededError(""), RequestPhase::kQueue);
  End(absl::DeadlineExceededError(""), RequestPhase::kPrefill);
  End(absl::DeadlineExceededError(""), RequestPhase::kPrefill);
  End(absl::CancelledError(""), RequestPhase::kDecode);  // not an expiry
  EXPECT_THAT(Lines("sieve_deadline_expiries_total{"),
              testing::UnorderedElementsAre("sieve_deadline_expiries_total{phase=\"queue\"} 1",
                                            "sieve_deadline_expiries_total{phase=\"prefill\"} 2",
                                            "sieve_deadline_expiries_total{phase=\"decode\"} 0"));
}

TEST_F(MetricsTest, APhaseThatWasNotReachedIsNotMeasured) {
  End(absl::CancelledError(""), RequestPhase::kQueue);
  End(absl::CancelledError(""), RequestPhase::kPrefill);
  End(absl::OkStatus(), RequestPhase::kDecode, 9);
  const std::string text = Text();
  EXPECT_THAT(text, HasSubstr("sieve_request_queue_seconds_count 3\n"));
  EXPECT_THAT(text, HasSubstr("sieve_request_prefill_seconds_count 2\n"));
  EXPECT_THAT(text, HasSubstr("sieve_request_kv_bytes_count 2\n"));
  EXPECT_THAT(text, HasSubstr("sieve_request_decode_seconds_count 1\n"));
  EXPECT_THAT(text, HasSubstr("sieve_request_seconds_count 3\n"));
  EXPECT_THAT(text, HasSubstr("sieve_request_prompt_tokens_sum 60\n"));
  EXPECT_THAT(text, HasSubstr("sieve_request_output_tokens_bucket{le=\"0\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("sieve_request_output_tokens_sum 9\n"));
  EXPECT_THAT(text, HasSubstr("sieve_request_kv_bytes_bucket{le=\"65536\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("sieve_request_kv_bytes_bucket{le=\"131072\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("sieve_request_queue_seconds_bucket{le=\"0.0025\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("sieve_request_queue_seconds_bucket{le=\"0.005\"} 3\n"));
}

// Four tokens of 0.3 to 0.9 ms are four buckets' worth: what one token takes can be told below 1
// ms.
TEST_F(MetricsTest, InterTokenTimesBelowAMillisecondAreToldApart) {
  for (const int microseconds : {200, 300, 600, 900, 1200}) {
    metrics_.OnInterToken(absl::Microseconds(microseconds));
  }
  const std::string name = "sieve_inter_token_latency_seconds_bucket";
  const std::vector<std::string> lines = Lines(name);
  ASSERT_THAT(lines, SizeIs(16));
  const char* const bounds[] = {"0.00025", "0.0005", "0.00075", "0.001", "0.0015", "0.002",
                                "0.003",   "0.005",  "0.01",    "0.02",  "0.05",   "0.1",
                                "0.2",     "0.5",    "1",       "+Inf"};
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(lines[i], absl::StrCat(name, "{le=\"", bounds[i], "\"} ", std::min(i + 1, 5)));
  }
}

TEST_F(MetricsTest, ABoundBelongsToItsBucket) {
  metrics_.OnFirstToken(absl::Microseconds(500));
  metrics_.OnFirstToken(absl::Seconds(60));
  metrics_.OnFirstToken(absl::Seconds(60) + absl::Nanoseconds(100));
  const std::string text = Text();
  EXPECT_THAT(text, HasSubstr("sieve_time_to_first_token_seconds_bucket{le=\"0.0005\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("sieve_time_to_first_token_seconds_bucket{le=\"30\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("sieve_time_to_first_token_seconds_bucket{le=\"60\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("sieve_time_to_first_token_seconds_bucket{le=\"+Inf\"} 3\n"));
}

TEST_F(MetricsTest, StepsAreMeasuredByPhase) {
  StepRecord step;
  step.plan = absl::Microseconds(20);
  step.forward = absl::Milliseconds(7);
  step.sample = absl::Microseconds(300);
  step.sequences = 3;
  step.prefill_tokens = 100;
  step.decode_tokens = 2;
  metrics_.OnStep(step);
  const std::string text = Text();
  const std::string bucket = "sieve_engine_step_seconds_bucket{phase=";
  EXPECT_THAT(text, HasSubstr(bucket + "\"plan\",le=\"1e-05\"} 0\n"));
  EXPECT_THAT(text, HasSubstr(bucket + "\"plan\",le=\"2.5e-05\"} 1\n"));
  EXPECT_THAT(text, HasSubstr(bucket + "\"forward\",le=\"0.005\"} 0\n"));
  EXPECT_THAT(text, HasSubstr(bucket + "\"forward\",le=\"0.01\"} 1\n"));
  EXPECT_THAT(text, HasSubstr(bucket + "\"sample\",le=\"0.00025\"} 0\n"));
  EXPECT_THAT(text, HasSubstr(bucket + "\"sample\",le=\"0.0005\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("sieve_engine_batch_sequences_sum 3\n"));
  EXPECT_THAT(text, HasSubstr("sieve_engine_batch_tokens_sum 102\n"));
}

}  // namespace
}  // namespace sieve
