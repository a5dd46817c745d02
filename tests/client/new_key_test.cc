#include "client/new_key.h"

#include <set>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace sieve {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::MatchesRegex;

json NewKey(const NewKeyOptions& options) {
  std::ostringstream out;
  EXPECT_EQ(RunNewKey(options, /*json=*/true, out), ExitCode::kOk);
  return json::parse(out.str());
}

TEST(NewKeyTest, KeysAreLongAndNoTwoAreAlike) {
  std::set<std::string> keys;
  for (int i = 0; i < 100; ++i) {
    const json made = NewKey({.tenant = "acme", .weight = {}, .note = {}});
    EXPECT_THAT(made["key"], MatchesRegex("sieve_[A-Za-z0-9_-]{43}"));  // 256 bits
    keys.insert(made["key"]);
    keys.insert(made["entry"]["sha256"]);
  }
  EXPECT_EQ(keys.size(), 200);
}

TEST(NewKeyTest, TheEntryHasTheHashAndWhatWasAskedFor) {
  const json plain = NewKey({.tenant = "acme", .weight = {}, .note = {}})["entry"];
  EXPECT_EQ(plain["tenant"], "acme");
  EXPECT_EQ(plain.size(), 2);
  const json full = NewKey({.tenant = "a", .weight = 2.5, .note = "CI, \"nightly\""})["entry"];
  EXPECT_EQ(full["weight"], 2.5);
  EXPECT_EQ(full["note"], "CI, \"nightly\"");
  EXPECT_EQ(full.size(), 4);
}

TEST(NewKeyTest, ForPeopleKeyAndEntryStandOnLinesOfTheirOwn) {
  std::ostringstream out;
  EXPECT_EQ(RunNewKey({.tenant = "acme", .weight = {}, .note = {}}, /*json=*/false, out),
            ExitCode::kOk);
  EXPECT_THAT(out.str(), HasSubstr("\nsieve_"));
  EXPECT_THAT(out.str(), HasSubstr("\n{\"sha256\":"));
  EXPECT_THAT(out.str(), HasSubstr("\n{\"keys\":[{\"sha256\":"));
}

TEST(NewKeyTest, WhatTheServerWouldRefuse) {
  EXPECT_TRUE(CheckNewKeyOptions({.tenant = "a.B_c-9", .weight = 0.001, .note = "é"}).ok());
  for (const std::string& tenant : {std::string(), std::string("a b"), std::string(65, 'a')}) {
    EXPECT_FALSE(CheckNewKeyOptions({.tenant = tenant, .weight = {}, .note = {}}).ok()) << tenant;
  }
  for (const double weight : {0.0, -1.0, 1001.0}) {
    EXPECT_FALSE(CheckNewKeyOptions({.tenant = "a", .weight = weight, .note = {}}).ok()) << weight;
  }
  EXPECT_FALSE(CheckNewKeyOptions({.tenant = "a", .weight = {}, .note = "\xFF"}).ok());
}

}  // namespace
}  // namespace sieve
