#include "server/fair_shares.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

// Serves `tokens` at a time to whoever is next; what each tenant of `names` got.
std::map<std::string, int64_t> Serve(FairShares* shares,
                                     const std::map<FairShares::Tenant*, std::string>& names,
                                     int turns, int64_t tokens = 10) {
  std::map<std::string, int64_t> served;
  for (int i = 0; i < turns; ++i) {
    FairShares::Tenant* next = shares->Next();
    served[names.at(next)] += tokens;
    shares->Charge(next, tokens);
  }
  return served;
}

TEST(FairSharesTest, ServiceIsInProportionToWeights) {
  FairShares shares;
  std::map<FairShares::Tenant*, std::string> names;
  const std::map<std::string, double> weights = {{"a", 3}, {"b", 1}, {"c", 0.5}};
  for (const auto& [name, weight] : weights) {
    FairShares::Tenant* tenant = shares.Join(name, weight);
    names[tenant] = name;
    shares.SetWaiting(tenant, true);
  }
  auto served = Serve(&shares, names, 4500);
  EXPECT_NEAR(served["a"], 30000, 30);
  EXPECT_NEAR(served["b"], 10000, 30);
  EXPECT_NEAR(served["c"], 5000, 30);
}

TEST(FairSharesTest, AfterAResetNobodyIsThere) {
  FairShares shares;
  FairShares::Tenant* tenant = shares.Join("a", 1);
  shares.SetWaiting(tenant, true);
  shares.Reserve(tenant, 10);
  shares.Reset();
  EXPECT_EQ(shares.size(), 0);
  EXPECT_EQ(shares.Next(), nullptr);
  shares.ClearReservations();
  shares.SetWaiting(shares.Join("a", 1), true);
  EXPECT_NE(shares.Next(), nullptr);
}

TEST(FairSharesTest, NobodySavesUpServiceByNotAskingForIt) {
  FairShares shares;
  FairShares::Tenant* a = shares.Join("a", 1);
  FairShares::Tenant* late = shares.Join("late", 1);  // has work, but does not wait
  shares.SetWaiting(a, true);
  Serve(&shares, {{a, "a"}}, 1000);
  shares.SetWaiting(late, true);
  auto served = Serve(&shares, {{a, "a"}, {late, "late"}}, 1000);
  EXPECT_NEAR(served["a"], 5000, 20);
  EXPECT_NEAR(served["late"], 5000, 20);
}

TEST(FairSharesTest, LeavingAndComingBackWipesNothingOut) {
  FairShares shares;
  FairShares::Tenant* a = shares.Join("a", 1);
  FairShares::Tenant* b = shares.Join("b", 1);
  shares.SetWaiting(a, true);
  shares.SetWaiting(b, true);
  shares.Charge(a, 1000);  // far ahead
  shares.Leave(a);
  a = shares.Join("a", 1);
  shares.SetWaiting(a, true);
  auto served = Serve(&shares, {{a, "a"}, {b, "b"}}, 100);
  EXPECT_EQ(served["b"], 1000);
  EXPECT_EQ(served["a"], 0);
}

// Each of them begins where the others are, and there is always one that has had nothing.
TEST(FairSharesTest, AStreamOfNewTenantsHoldsNobodyUp) {
  FairShares shares;
  FairShares::Tenant* a = shares.Join("a", 1);
  shares.SetWaiting(a, true);
  shares.SetWaiting(shares.Join("fresh", 1), true);
  shares.Charge(a, 100);
  int turns = 0;
  for (; turns < 100; ++turns) {
    shares.SetWaiting(shares.Join(absl::StrCat("fresh", turns), 1), true);
    FairShares::Tenant* next = shares.Next();
    if (next == a) break;
    shares.SetWaiting(next, false);
    shares.Charge(next, 50);
    shares.Leave(next);
  }
  EXPECT_LT(turns, 15);
}

TEST(FairSharesTest, ReservationsCountUntilTheyAreCleared) {
  FairShares shares;
  FairShares::Tenant* a = shares.Join("a", 2);
  FairShares::Tenant* b = shares.Join("b", 1);
  shares.SetWaiting(a, true);
  shares.SetWaiting(b, true);
  EXPECT_EQ(shares.Next(), a);  // it came first
  shares.Reserve(a, 100);
  EXPECT_EQ(shares.Next(), b);
  shares.Reserve(b, 60);
  EXPECT_EQ(shares.Next(), a);
  shares.Reserve(a, 30);
  EXPECT_EQ(shares.Next(), b);
  EXPECT_TRUE(FairShares::Before(a, b));
  shares.ClearReservations();
  EXPECT_EQ(shares.Next(), a);
  shares.SetWaiting(a, false);
  shares.SetWaiting(b, false);
  EXPECT_EQ(shares.Next(), nullptr);
}

TEST(FairSharesTest, TenantsThatCameAndWentAreForgotten) {
  FairShares shares;
  FairShares::Tenant* steady = shares.Join("steady", 1);
  shares.SetWaiting(steady, true);
  for (int i = 0; i < 10000; ++i) {
    FairShares::Tenant* tenant = shares.Join(absl::StrCat("tenant", i), 1);
    shares.SetWaiting(tenant, true);
    // The first half get more than their share, which is remembered for a while.
    shares.Charge(tenant, i < 5000 ? 1000000 : 1);
    shares.Leave(tenant);
    ASSERT_LE(shares.size(), FairShares::kMaxIdle + 2);
  }
  shares.Charge(steady, 10000000000);
  EXPECT_EQ(shares.size(), 1);
  shares.Leave(steady);
  EXPECT_LE(shares.size(), 1);
}

}  // namespace
}  // namespace sieve
