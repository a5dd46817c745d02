#include "server/caller.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/refusal.h"

namespace sieve {
namespace {

using testing::HasSubstr;
using testing::Pair;
using testing::UnorderedElementsAre;

using Entries = std::vector<std::pair<std::string, std::string>>;

absl::StatusOr<Caller> Read(const CallerRules& rules, const Entries& entries) {
  CallMetadata metadata;
  for (const auto& [key, value] : entries) metadata.emplace(key, value);
  return ReadCaller(rules, metadata);
}

CallerRules WithKeys() {
  CallerRules rules;
  rules.tenant_weights = {{"ada", 9}};  // has no say where there are keys
  rules.find_key = [](absl::string_view key) -> std::optional<KeyOwner> {
    if (key != "secret") return std::nullopt;
    return KeyOwner{.tenant = "ada", .weight = 3};
  };
  return rules;
}

TEST(CallerTest, TenantsNameThemselvesWhereThereAreNoKeys) {
  CallerRules rules;
  rules.tenant_weights = {{"a", 2.5}};
  EXPECT_EQ(Read(rules, {})->tenant, "default");
  EXPECT_EQ(Read(rules, {})->weight, 1);
  EXPECT_EQ(Read(rules, {{"x-sieve-tenant", "a"}})->tenant, "a");
  EXPECT_EQ(Read(rules, {{"x-sieve-tenant", "a"}})->weight, 2.5);
  EXPECT_EQ(Read(rules, {{"x-sieve-tenant", "b"}})->weight, 1);
  const std::string longest(64, 'Z');
  EXPECT_EQ(Read(rules, {{"x-sieve-tenant", longest}})->tenant, longest);
}

TEST(CallerTest, ATenantsNameThatIsNone) {
  for (const std::string& name : {std::string(), std::string(65, 'a'), std::string("a b"),
                                  std::string("a\n"), std::string("caf\xc3\xa9")}) {
    const absl::Status status = Read({}, {{"x-sieve-tenant", name}}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    ASSERT_EQ(ViolationsOf(status).size(), 1);
    EXPECT_EQ(ViolationsOf(status)[0].field, "x-sieve-tenant");
    EXPECT_THAT(std::string(status.message()), HasSubstr("expected 1 to 64 of"));
  }
}

TEST(CallerTest, TheKeysOwnerIsTheTenant) {
  for (const Entries& entries :
       std::vector<Entries>{{{"authorization", "Bearer secret"}},
                            {{"authorization", "bearer  secret "}},
                            {{"x-api-key", "secret"}},
                            {{"authorization", "Basic eDp5"}, {"x-api-key", "secret"}},
                            {{"x-api-key", "secret"}, {"x-sieve-tenant", "not a name!"}}}) {
    const absl::StatusOr<Caller> caller = Read(WithKeys(), entries);
    ASSERT_TRUE(caller.ok()) << caller.status();
    EXPECT_EQ(caller->tenant, "ada");
    EXPECT_EQ(caller->weight, 3);
  }
}

TEST(CallerTest, WithKeysAdminsAreThoseWhoseKeySaysSo) {
  EXPECT_TRUE(Read({}, {})->admin);
  CallerRules rules = WithKeys();
  EXPECT_FALSE(Read(rules, {{"x-api-key", "secret"}})->admin);
  rules.find_key = [](absl::string_view) { return KeyOwner{.tenant = "ada", .admin = true}; };
  EXPECT_TRUE(Read(rules, {{"x-api-key", "secret"}})->admin);
}

TEST(CallerTest, KeysThatAreMissingOrNotKnown) {
  for (const Entries& entries :
       std::vector<Entries>{{},
                            {{"authorization", "secret"}},
                            {{"authorization", "Bearer"}},
                            {{"authorization", "Bearer "}},
                            {{"authorization", "Bearer Secret"}},
                            {{"x-api-key", ""}},
                            {{"x-sieve-tenant", "ada"}},
                            {{"authorization", "Bearer wrong"}, {"x-api-key", "secret"}}}) {
    const absl::Status status = Read(WithKeys(), entries).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << testing::PrintToString(entries);
    EXPECT_EQ(ReasonOf(status), RefusalReason::kUnauthenticated);
    EXPECT_EQ(status.message().find("wrong"), std::string::npos) << "keys are not repeated";
  }
}

TEST(CallerTest, TraceparentIsCarriedWhenItIsWellFormed) {
  const std::string good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  EXPECT_EQ(Read({}, {{"traceparent", good}})->traceparent, good);
  for (const std::string& bad : std::vector<std::string>{
           "",
           "01" + good.substr(2),                                      // another version
           good + "-00",                                               // more than version 00 has
           good.substr(0, good.size() - 1),                            // short
           "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",  // upper case
           "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
           "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
           "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01"}) {
    EXPECT_EQ(Read({}, {{"traceparent", bad}})->traceparent, "") << bad;
  }
}

TEST(CallerTest, TenantWeights) {
  EXPECT_THAT(ParseTenantWeights("").value(), testing::IsEmpty());
  EXPECT_THAT(ParseTenantWeights("a=3,b.c-d_E=0.5").value(),
              UnorderedElementsAre(Pair("a", 3), Pair("b.c-d_E", 0.5)));
  for (const char* bad :
       {"a", "a=", "=1", "a=0", "a=-1", "a=nan", "a=inf", "a=1e9", "a b=1", "a=1,a=2", "a=1=2"}) {
    EXPECT_EQ(ParseTenantWeights(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace sieve
