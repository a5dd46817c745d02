#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "server/admission.h"
#include "server/refusal.h"

namespace sieve {
namespace {

// As many requests of `tenant` as are admitted.
int Fill(Admission* admission, const std::string& tenant, double weight = 1, int64_t tokens = 1) {
  int admitted = 0;
  for (; admission->Check(tenant, weight, tokens).ok(); ++admitted) {
    admission->Enter(tenant, weight, tokens);
  }
  return admitted;
}

TEST(AdmissionTest, OneTenantHasTheWholeQueue) {
  Admission admission({.max_queued_requests = 10});
  EXPECT_EQ(Fill(&admission, "a"), 10);
  const absl::Status status = admission.Check("a", 1, 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), RefusalReason::kQueueFull);
  admission.Leave("a", 1);
  EXPECT_EQ(Fill(&admission, "a"), 1);
}

TEST(AdmissionTest, AFullQueueStillTakesTenantsBelowTheirShare) {
  Admission admission({.max_queued_requests = 12});
  EXPECT_EQ(Fill(&admission, "a"), 12);
  EXPECT_EQ(Fill(&admission, "b", 2), 8);   // 2 / 3 of 12
  EXPECT_EQ(Fill(&admission, "c", 1), 3);   // 1 / 4
  EXPECT_EQ(Fill(&admission, "d", 10), 1);  // twice the limit is the end
  EXPECT_EQ(admission.requests(), 24);
  // Whoever has too much has to wait until the queue is below its limit again.
  for (int i = 0; i < 11; ++i) {
    ASSERT_EQ(Fill(&admission, "a"), 0) << i;
    admission.Leave("a", 1);
  }
  admission.Leave("b", 1);
  EXPECT_EQ(admission.requests(), 12);
  EXPECT_EQ(Fill(&admission, "a"), 0);
  admission.Leave("b", 1);
  EXPECT_EQ(Fill(&admission, "a"), 1);
}

TEST(AdmissionTest, EverNewTenantsDoNotMakeTheQueueGrow) {
  Admission admission({.max_queued_requests = 10, .max_queued_prompt_tokens = 1000});
  for (int i = 0; i < 1000; ++i) {
    const std::string tenant = absl::StrCat("tenant", i);
    if (admission.Check(tenant, 1, 10).ok()) admission.Enter(tenant, 1, 10);
  }
  EXPECT_EQ(admission.requests(), 20);
}

TEST(AdmissionTest, PromptTokensAreLimitedTheSameWay) {
  Admission admission({.max_queued_requests = 1000, .max_queued_prompt_tokens = 100});
  EXPECT_TRUE(admission.Check("a", 1, 500).ok());  // the only one may be as long as it is
  admission.Enter("a", 1, 60);
  EXPECT_TRUE(admission.Check("a", 1, 40).ok());
  const absl::Status status = admission.Check("a", 1, 41);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), RefusalReason::kQueuedTokens);
  EXPECT_TRUE(admission.Check("b", 1, 41).ok());
  EXPECT_TRUE(admission.Check("b", 1, 140).ok());
  EXPECT_FALSE(admission.Check("b", 1, 141).ok());
  admission.Enter("b", 1, 50);  // now at its half
  EXPECT_FALSE(admission.Check("b", 1, 1).ok());
  admission.Leave("a", 60);
  EXPECT_EQ(admission.prompt_tokens(), 50);
  EXPECT_TRUE(admission.Check("b", 1, 50).ok());
}

TEST(AdmissionTest, AClosedOneAdmitsNobody) {
  Admission admission({});
  admission.Close();
  const absl::Status status = admission.Check("a", 1, 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(status), RefusalReason::kDraining);
  EXPECT_LT(RetryAfter(status), absl::Minutes(1));
}

TEST(AdmissionTest, WhenToTryAgainFollowsTheMeasuredRate) {
  Admission admission({.max_queued_requests = 2});
  admission.Enter("a", 1, 300);
  admission.Enter("a", 1, 300);
  const auto retry = [&] { return RetryAfter(admission.Check("a", 1, 1)); };
  EXPECT_EQ(retry(), absl::Seconds(1));  // nothing is measured yet
  // 100 tokens a second leave the queue.
  admission.ObserveStep({.time = absl::Seconds(2), .prefill_tokens = 200, .started_tokens = 200});
  EXPECT_EQ(retry(), absl::Seconds(6));
  for (int i = 0; i < 100; ++i) {
    admission.ObserveStep({.time = absl::Seconds(1), .started_tokens = 1000000});
  }
  EXPECT_EQ(retry(), absl::Milliseconds(100));
  admission.ObserveStep({.time = absl::Hours(10'000)});
  EXPECT_EQ(retry(), absl::Seconds(30));
}

TEST(AdmissionTest, TheFirstTokenComesAfterWhatIsBeforeIt) {
  Admission admission({});
  EXPECT_FALSE(admission.TimeToFirstToken("a", 1, 100));
  admission.ObserveStep({.time = absl::Seconds(1), .prefill_tokens = 100});
  EXPECT_EQ(admission.prefill_rate(), 100);
  EXPECT_EQ(*admission.TimeToFirstToken("a", 1, 50), absl::Milliseconds(500));
  admission.set_prefill_backlog(200);
  EXPECT_EQ(*admission.TimeToFirstToken("a", 1, 50), absl::Milliseconds(2500));
  admission.Enter("a", 1, 1000);
  EXPECT_EQ(*admission.TimeToFirstToken("a", 1, 50), absl::Milliseconds(12500));
  // Where requests leave the queue more slowly than prompts are computed, that is what counts.
  admission.ObserveStep({.time = absl::Seconds(1), .started_tokens = 50});
  EXPECT_EQ(*admission.TimeToFirstToken("a", 1, 50), absl::Milliseconds(22500));
  // Of another tenant's nothing is before the first; its own counts by weight.
  EXPECT_EQ(*admission.TimeToFirstToken("b", 1, 50), absl::Milliseconds(2500));
  admission.Enter("b", 1, 100);
  EXPECT_EQ(*admission.TimeToFirstToken("b", 1, 50), absl::Milliseconds(6500));
}

TEST(AdmissionTest, WhileNothingStartsTheEstimateGrowsWithTheTime) {
  Admission admission({.max_queued_requests = 10});
  admission.Enter("a", 1, 100);
  admission.ObserveStep({.time = absl::Seconds(1), .prefill_tokens = 100, .started_tokens = 100});
  EXPECT_EQ(admission.TimeToFirstToken("a", 1, 100), absl::Seconds(2));
  for (int i = 0; i < 99; ++i) admission.ObserveStep({.time = absl::Seconds(1)});
  EXPECT_EQ(admission.TimeToFirstToken("a", 1, 100), absl::Seconds(101));
  // Whatever the rate, the estimate is finite.
  admission.ObserveStep({.time = absl::Hours(1'000'000)});
  EXPECT_EQ(admission.TimeToFirstToken("a", 1, 100), absl::Hours(24));
}

TEST(RateEstimatorTest, WhatIsLongAgoIsForgotten) {
  RateEstimator rate;
  EXPECT_EQ(rate.rate(), 0);
  rate.Observe(100, absl::ZeroDuration());  // a clock that does not move
  EXPECT_EQ(rate.rate(), 0);
  for (int i = 0; i < 1000; ++i) rate.Observe(100, absl::Milliseconds(100));
  EXPECT_NEAR(rate.rate(), 1000, 1);
  for (int i = 0; i < 1000; ++i) rate.Observe(20, absl::Milliseconds(100));
  EXPECT_NEAR(rate.rate(), 200, 1);
}

}  // namespace
}  // namespace sieve
