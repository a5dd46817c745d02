#include "server/caller.h"

#include <algorithm>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/field_checks.h"
#include "server/refusal.h"
#include "server/tenant.h"

namespace sieve {
namespace {

constexpr char kDefaultTenant[] = "default";
constexpr char kTenantKey[] = "x-sieve-tenant";

// The first value of a key; none when it is absent.
std::optional<absl::string_view> Find(const CallMetadata& metadata, const char* key) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return std::nullopt;
  return absl::string_view(found->second.data(), found->second.size());
}

std::optional<absl::string_view> FindApiKey(const CallMetadata& metadata) {
  constexpr absl::string_view kScheme = "bearer ";  // in any case, by RFC 7235
  if (const auto value = Find(metadata, "authorization");
      value.has_value() && absl::StartsWithIgnoreCase(*value, kScheme)) {
    return absl::StripAsciiWhitespace(value->substr(kScheme.size()));
  }
  return Find(metadata, "x-api-key");
}

bool IsLowerHex(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'); });
}

bool IsZero(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c == '0'; });
}

// https://www.w3.org/TR/trace-context/#traceparent-header, version 00: a trace and a parent of all
// zeros are not valid.
bool IsTraceparent(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '-');
  return parts.size() == 4 && parts[0] == "00" && parts[1].size() == 32 && parts[2].size() == 16 &&
         parts[3].size() == 2 && IsLowerHex(parts[1]) && IsLowerHex(parts[2]) &&
         IsLowerHex(parts[3]) && !IsZero(parts[1]) && !IsZero(parts[2]);
}

absl::Status Unauthenticated(absl::string_view what) {
  return Refusal(
      absl::UnauthenticatedError(absl::StrCat(
          what, "; expected metadata \"authorization: Bearer KEY\" or \"x-api-key: KEY\"")),
      RefusalReason::kUnauthenticated);
}

absl::Status ReadOwner(const CallerRules& rules, const CallMetadata& metadata, Caller* caller) {
  const std::optional<absl::string_view> key = FindApiKey(metadata);
  if (!key.has_value()) return Unauthenticated("the call has no API key");
  const std::optional<KeyOwner> owner = rules.find_key(*key);
  if (!owner.has_value()) return Unauthenticated("the API key is not known");
  caller->tenant = owner->tenant;
  caller->weight = owner->weight;
  caller->admin = owner->admin;
  return absl::OkStatus();
}

absl::Status ReadTenant(const CallerRules& rules, const CallMetadata& metadata, Caller* caller) {
  const absl::string_view name = Find(metadata, kTenantKey).value_or(kDefaultTenant);
  if (!IsTenantName(name)) {
    FieldChecks checks;
    checks.Fail(kTenantKey, Quoted(name), kTenantNameRule);
    return Refusal(checks.status(), RefusalReason::kInvalid);
  }
  caller->tenant = std::string(name);
  const auto weight = rules.tenant_weights.find(caller->tenant);
  if (weight != rules.tenant_weights.end()) caller->weight = weight->second;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::map<std::string, double>> ParseTenantWeights(absl::string_view text) {
  std::map<std::string, double> weights;
  for (const absl::string_view entry : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(entry, absl::MaxSplits('=', 1));
    double weight = 0;
    if (!IsTenantName(parts.first) || !absl::SimpleAtod(parts.second, &weight) ||
        !IsTenantWeight(weight)) {
      return absl::InvalidArgumentError(absl::StrCat(
          Quoted(entry), " is no tenant with its weight; expected NAME=WEIGHT, a name of ",
          kTenantNameRule, " and ", kTenantWeightRule));
    }
    if (!weights.emplace(parts.first, weight).second) {
      return absl::InvalidArgumentError(absl::StrCat(Quoted(parts.first), " is there twice"));
    }
  }
  return weights;
}

absl::StatusOr<Caller> ReadCaller(const CallerRules& rules, const CallMetadata& metadata) {
  Caller caller;
  absl::Status status =
      rules.find_key ? ReadOwner(rules, metadata, &caller) : ReadTenant(rules, metadata, &caller);
  if (!status.ok()) return status;
  if (const auto value = Find(metadata, "traceparent");
      value.has_value() && IsTraceparent(*value)) {
    caller.traceparent = std::string(*value);
  }
  return caller;
}

}  // namespace sieve
