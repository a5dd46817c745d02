#include "client/bench/measurements.h"

#include "gtest/gtest.h"

namespace sieve {
namespace {

constexpr int64_t kMs = 1'000'000;

// Arrives at 100 ms; first token 20 ms later, four gaps of 10 ms, done at 160 ms.
Outcome Good() {
  Outcome outcome;
  outcome.intended = 100 * kMs;
  outcome.sent = outcome.handed_over = 101 * kMs;
  outcome.accepted = true;
  outcome.first_token = 120 * kMs;
  outcome.gaps = {10 * kMs, 10 * kMs, 10 * kMs, 10 * kMs};
  outcome.tokens = outcome.tokens_in_window = 5;
  outcome.done = 160 * kMs;
  return outcome;
}

Measurements Record(const std::vector<Outcome>& outcomes, const Objective& objective = {},
                    const Window& window = {}) {
  Recorder recorder(window, objective, 2);
  for (const Outcome& outcome : outcomes) recorder.Add(outcome);
  return recorder.Take();
}

TEST(MeasurementsTest, LatenciesCountFromTheIntendedTime) {
  const Measurements m = Record({Good()});
  EXPECT_EQ(m.first_token.max(), 20 * kMs);
  EXPECT_EQ(m.gap.count(), 4);
  EXPECT_EQ(m.gap.max(), 10 * kMs);
  EXPECT_EQ(m.end_to_end.max(), 60 * kMs);
  EXPECT_EQ(m.lag.max(), 1 * kMs);
  EXPECT_EQ(m.by_code.at("OK"), 1);
  EXPECT_EQ(m.good, 1);
  EXPECT_EQ(m.good_tokens_in_window, 5);
}

TEST(MeasurementsTest, TheObjectiveHoldsAtItsBorder) {
  Objective objective;
  objective.first_token = 20 * kMs;
  objective.gap = 10 * kMs;
  objective.end_to_end = 60 * kMs;
  EXPECT_EQ(Record({Good()}, objective).good, 1);
  for (int64_t Objective::*field :
       {&Objective::first_token, &Objective::gap, &Objective::end_to_end}) {
    Objective stricter = objective;
    --(stricter.*field);
    EXPECT_EQ(Record({Good()}, stricter).good, 0);
  }
}

TEST(MeasurementsTest, OneGapInAHundredMayBeLong) {
  Objective objective;
  objective.gap = 10 * kMs;
  Outcome outcome = Good();
  outcome.gaps.assign(100, 10 * kMs);
  outcome.gaps[3] = 500 * kMs;
  EXPECT_EQ(Record({outcome}, objective).good, 1);
  outcome.gaps[4] = 500 * kMs;
  EXPECT_EQ(Record({outcome}, objective).good, 0);
  outcome.gaps.clear();  // one token
  EXPECT_EQ(Record({outcome}, objective).good, 1);
}

TEST(MeasurementsTest, RefusalsAreNoAnswers) {
  Outcome outcome;
  outcome.intended = 100 * kMs;
  outcome.sent = 101 * kMs;
  outcome.done = 103 * kMs;
  outcome.code = grpc::StatusCode::RESOURCE_EXHAUSTED;
  outcome.reason = "queue_full";
  const Measurements m = Record({outcome});
  EXPECT_EQ(m.rejected, 1);
  EXPECT_EQ(m.good, 0);
  EXPECT_EQ(m.rejection.max(), 3 * kMs);
  EXPECT_EQ(m.rejection_from_send.max(), 2 * kMs);
  EXPECT_EQ(m.first_token.count(), 0);
  EXPECT_EQ(m.end_to_end.count(), 0);
  EXPECT_EQ(m.by_reason.at("queue_full"), 1);
}

TEST(MeasurementsTest, AnErrorAfterTheStartIsNoRefusal) {
  Outcome outcome = Good();
  outcome.code = grpc::StatusCode::UNAVAILABLE;
  const Measurements m = Record({outcome});
  EXPECT_EQ(m.rejected, 0);
  EXPECT_EQ(m.by_code.at("UNAVAILABLE"), 1);
  EXPECT_EQ(m.first_token.count(), 1);
  EXPECT_EQ(m.end_to_end.count(), 0);
}

TEST(MeasurementsTest, WhatTheClientEndedIsNotTheServersDoing) {
  Outcome outcome = Good();
  outcome.code = grpc::StatusCode::CANCELLED;
  outcome.ending = Outcome::Ending::kCancelled;
  Outcome abandoned = outcome;
  abandoned.ending = Outcome::Ending::kAbandoned;
  const Measurements m = Record({outcome, abandoned});
  EXPECT_EQ(m.cancelled, 1);
  EXPECT_EQ(m.abandoned, 1);
  EXPECT_TRUE(m.by_code.empty());
  EXPECT_EQ(m.good, 0);
  EXPECT_EQ(m.first_token.count(), 2);
}

TEST(MeasurementsTest, RequestsByTheirArrivalRatesByWhatHappened) {
  Window window;
  window.begin = 101 * kMs;
  window.end = 1000 * kMs;
  Outcome late = Good();
  late.intended = 900 * kMs;
  late.done = 1000 * kMs;
  const Measurements m = Record({Good(), late}, {}, window);
  // Good() arrived too early, and ended in time; `late` the other way round.
  EXPECT_EQ(m.requests, 1);
  EXPECT_EQ(m.end_to_end.max(), 100 * kMs);
  EXPECT_EQ(m.done_in_window, 1);
  EXPECT_EQ(m.tokens_in_window, 10);
}

TEST(MeasurementsTest, TenantsApart) {
  Outcome a = Good();
  a.tenant = 0;
  Outcome b = a;
  b.tenant = 1;
  b.code = grpc::StatusCode::INTERNAL;
  const Measurements m = Record({a, b, b});
  EXPECT_EQ(m.tenants[0].requests, 1);
  EXPECT_EQ(m.tenants[0].good, 1);
  EXPECT_EQ(m.tenants[1].requests, 2);
  EXPECT_EQ(m.tenants[1].ok, 0);
  EXPECT_EQ(m.tenants[1].tokens_in_window, 10);
}

}  // namespace
}  // namespace sieve
