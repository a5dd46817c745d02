// What metadata says of a caller. The first byte says what the others are: tenants' weights as a
// flag gives them, or lines "key: value" of metadata to a server that asks for API keys or does
// not.

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "model/tokenizer/utf8_stream.h"
#include "server/caller.h"
#include "server/tenant.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input.h"

namespace {

using namespace sieve;  // NOLINT: LLVMFuzzerTestOneInput must be outside

constexpr char kKey[] = "secret-key-1";
constexpr char kOwner[] = "owner";

void CheckRefused(const absl::Status& status, absl::StatusCode code) {
  const std::string message(status.message());
  FUZZ_CHECK(status.code() == code, status.ToString());
  FUZZ_CHECK(!message.empty() && message.size() < 1000 && IsValidUtf8(message), message);
}

void RunWeights(std::string_view text) {
  const auto weights = ParseTenantWeights({text.data(), text.size()});
  if (!weights.ok()) {
    return CheckRefused(weights.status(), absl::StatusCode::kInvalidArgument);
  }
  for (const auto& [tenant, weight] : *weights) {
    FUZZ_CHECK(IsTenantName(tenant) && IsTenantWeight(weight), tenant, " ", weight);
  }
}

// The strings that the metadata views, in order of appearance.
std::vector<std::pair<std::string, std::string>> ReadLines(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> lines;
  for (const absl::string_view line :
       absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    const std::pair<std::string, std::string> entry =
        absl::StrSplit(line, absl::MaxSplits(": ", 1));
    lines.emplace_back(absl::AsciiStrToLower(entry.first), entry.second);
  }
  return lines;
}

void RunMetadata(std::string_view text, bool with_keys) {
  const auto lines = ReadLines(text);
  CallMetadata metadata;
  for (const auto& [key, value] : lines) metadata.emplace(key, value);
  CallerRules rules;
  rules.tenant_weights = {{"team-a", 3}};
  int known = 0;
  if (with_keys) {
    rules.find_key = [&](absl::string_view key) -> std::optional<KeyOwner> {
      if (key != kKey) return std::nullopt;
      ++known;
      return KeyOwner{.tenant = kOwner, .weight = 7};
    };
  }
  const auto caller = ReadCaller(rules, metadata);
  if (!caller.ok()) {
    FUZZ_CHECK(known == 0);
    return CheckRefused(caller.status(), with_keys ? absl::StatusCode::kUnauthenticated
                                                   : absl::StatusCode::kInvalidArgument);
  }
  FUZZ_CHECK(IsTenantName(caller->tenant) && IsTenantWeight(caller->weight), caller->tenant);
  // With keys nothing but a known one opens the door, and nobody speaks for another tenant.
  if (with_keys) FUZZ_CHECK(known == 1 && caller->tenant == kOwner && caller->weight == 7);
  const std::string& trace = caller->traceparent;
  if (trace.empty()) return;
  FUZZ_CHECK(trace.size() == 55, trace);
  FUZZ_CHECK(trace.find_first_not_of("0123456789abcdef-") == trace.npos, trace);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  InputReader reader(InputText(data, size));
  const int kind = reader.Number<uint8_t>() % 3;
  const std::string_view text = reader.Rest();
  if (kind == 0) {
    RunWeights(text);
  } else {
    RunMetadata(text, /*with_keys=*/kind == 2);
  }
  return 0;
}
