#include "client/bench/workload.h"

#include <cmath>
#include <limits>
#include <set>

#include "client/bench/clipped_workload.h"
#include "gtest/gtest.h"

namespace sieve {
namespace {

constexpr int kMany = 20'000;

std::vector<Arrival> Take(Workload* workload, int count) {
  std::vector<Arrival> arrivals;
  for (int i = 0; i < count; ++i) arrivals.push_back(*workload->Next());
  return arrivals;
}

std::vector<Arrival> Take(const BenchOptions& options, double rate, int count, int run = 0) {
  return Take(MakeSyntheticWorkload(options, rate, run).get(), count);
}

TEST(WorkloadTest, PoissonGapsHaveTheMeanAndTheSpreadOfTheirRate) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    BenchOptions options;
    options.seed = seed;
    const std::vector<Arrival> arrivals = Take(options, 50, kMany);
    double sum = 0, squares = 0;
    int short_gaps = 0;
    int64_t before = 0;
    for (const Arrival& arrival : arrivals) {
      ASSERT_GE(arrival.at_ns, before);
      const double gap = static_cast<double>(arrival.at_ns - before) * 1e-9 * 50;
      before = arrival.at_ns;
      sum += gap;
      squares += gap * gap;
      short_gaps += gap < std::log(2.0);  // the median
    }
    // Five standard deviations each: one run in millions fails by chance, and the seeds are fixed.
    EXPECT_NEAR(sum / kMany, 1, 5 / std::sqrt(kMany));
    EXPECT_NEAR(squares / kMany, 2, 5 * std::sqrt(20.0 / kMany));
    EXPECT_NEAR(short_gaps, kMany / 2, 5 * std::sqrt(kMany / 4));
  }
}

TEST(WorkloadTest, ConstantGapsDoNotDrift) {
  BenchOptions options;
  options.arrivals = BenchOptions::Arrivals::kConstant;
  const std::vector<Arrival> arrivals = Take(options, 3, 3000);
  EXPECT_EQ(arrivals[2].at_ns, 1'000'000'000);
  EXPECT_EQ(arrivals[2999].at_ns, 1'000'000'000'000);
}

TEST(WorkloadTest, AClosedLoopHasNoTimes) {
  for (const Arrival& arrival : Take({}, std::numeric_limits<double>::infinity(), 10)) {
    EXPECT_EQ(arrival.at_ns, 0);
  }
}

TEST(WorkloadTest, LengthsFillTheirRanges) {
  BenchOptions options;
  options.prompt_tokens = {16, 19};
  options.max_tokens = {5, 5};
  std::set<int32_t> seen;
  for (const Arrival& arrival : Take(options, 1, 200)) {
    seen.insert(arrival.prompt_tokens);
    EXPECT_EQ(arrival.max_tokens, 5);
  }
  EXPECT_EQ(seen, (std::set<int32_t>{16, 17, 18, 19}));
}

TEST(WorkloadTest, TheSeedAndTheRunSettleEverything) {
  BenchOptions options;
  options.prompt_tokens = {1, 1000};
  const auto same = [](const std::vector<Arrival>& a, const std::vector<Arrival>& b) {
    return a[9].at_ns == b[9].at_ns && a[9].prompt_tokens == b[9].prompt_tokens;
  };
  const std::vector<Arrival> first = Take(options, 1, 10);
  EXPECT_TRUE(same(first, Take(options, 1, 10)));
  EXPECT_FALSE(same(first, Take(options, 1, 10, /*run=*/1)));
  options.seed = 2;
  EXPECT_FALSE(same(first, Take(options, 1, 10)));
}

TEST(WorkloadTest, TenantsAndCancellationsDoNotMoveTheArrivals) {
  BenchOptions options;
  const std::vector<Arrival> plain = Take(options, 10, kMany);
  options.tenants.names = {"a", "b", "c"};
  options.cancel_fraction = 0.25;
  options.cancel_after = DurationRange{absl::Milliseconds(5), absl::Milliseconds(15)};
  const std::vector<Arrival> arrivals = Take(options, 10, kMany);
  int cancelled = 0;
  std::vector<int> by_tenant(3);
  for (int i = 0; i < kMany; ++i) {
    EXPECT_EQ(arrivals[i].at_ns, plain[i].at_ns);
    EXPECT_EQ(plain[i].tenant, -1);
    EXPECT_EQ(plain[i].cancel_after_ns, -1);
    ++by_tenant.at(arrivals[i].tenant);
    if (arrivals[i].cancel_after_ns < 0) continue;
    ++cancelled;
    EXPECT_GE(arrivals[i].cancel_after_ns, 5'000'000);
    EXPECT_LE(arrivals[i].cancel_after_ns, 15'000'000);
  }
  EXPECT_NEAR(cancelled, kMany / 4, 5 * std::sqrt(kMany * 3 / 16));
  for (const int count : by_tenant) EXPECT_NEAR(count, kMany / 3, 5 * std::sqrt(kMany * 2 / 9));
}

TEST(ClippedWorkloadTest, CutsThePromptThenTheOutput) {
  BenchOptions options;
  options.prompt_tokens = {100, 100};
  options.max_tokens = {50, 50};
  const auto clip = [&](int prompt, int generated, int context) {
    ClippedWorkload workload(MakeSyntheticWorkload(options, 1, 0), {prompt, generated, context});
    const Arrival arrival = *workload.Next();
    return std::vector<int64_t>{arrival.prompt_tokens, arrival.max_tokens, workload.clipped()};
  };
  EXPECT_EQ(clip(100, 50, 150), (std::vector<int64_t>{100, 50, 0}));
  EXPECT_EQ(clip(100, 50, 149), (std::vector<int64_t>{100, 49, 1}));
  EXPECT_EQ(clip(99, 50, 150), (std::vector<int64_t>{99, 50, 1}));
  EXPECT_EQ(clip(100, 1, 150), (std::vector<int64_t>{100, 1, 1}));
}

}  // namespace
}  // namespace sieve
