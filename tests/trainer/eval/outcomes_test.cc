#include "trainer/eval/outcomes.h"

#include <gtest/gtest.h>

#include <vector>

namespace sieve {
namespace {

TEST(OutcomesJson, CountsAndInterval) {
  const auto json = OutcomesJson({1, 0, 1, 1});
  EXPECT_EQ(json["trials"], 4);
  EXPECT_EQ(json["successes"], 3);
  EXPECT_EQ(json["rate"], 0.75);
  EXPECT_NEAR(json["interval"][0].get<double>(), 0.300642, 1e-6);
}

TEST(OutcomesJson, NoTrials) {
  const auto json = OutcomesJson({});
  EXPECT_EQ(json["trials"], 0);
  EXPECT_TRUE(json["rate"].is_null());
  EXPECT_TRUE(json["interval"].is_null());
}

TEST(PairedOutcomesJson, ComparesTrialByTrial) {
  const std::vector<double> dense = {1, 1, 1, 0, 0}, sparse = {1, 0, 0, 1, 0};
  const auto json = PairedOutcomesJson(dense, sparse, 1);
  EXPECT_EQ(json["successes"], 2);
  EXPECT_NEAR(json["difference"].get<double>(), -0.2, 1e-12);
  EXPECT_EQ(json["only_dense"], 2);
  EXPECT_EQ(json["only_sparse"], 1);
  EXPECT_EQ(json["mcnemar_p"], 1);
  EXPECT_NEAR(json["of_dense"].get<double>(), 1.0 / 3, 1e-12);
  EXPECT_LE(json["difference_interval"][0].get<double>(), -0.2);
  EXPECT_GE(json["difference_interval"][1].get<double>(), -0.2);
}

TEST(PairedOutcomesJson, NothingThatDenseSolves) {
  const auto json = PairedOutcomesJson({0, 0}, {0, 1}, 1);
  EXPECT_TRUE(json["of_dense"].is_null());
  EXPECT_EQ(json["only_sparse"], 1);
}

}  // namespace
}  // namespace sieve
