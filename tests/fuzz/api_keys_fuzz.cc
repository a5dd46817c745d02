// A file of API keys.

#include <map>
#include <set>

#include "absl/status/status.h"
#include "server/api_key_file.h"
#include "server/api_keys.h"
#include "server/tenant.h"
#include "tests/fuzz/check.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/model_checks.h"
#include "tests/fuzz/scratch.h"

namespace {

using namespace sieve;  // NOLINT: LLVMFuzzerTestOneInput must be outside

void CheckEntries(const std::vector<ApiKeyEntry>& entries) {
  std::set<Sha256> digests;
  std::map<std::string, double> weights;
  for (const ApiKeyEntry& entry : entries) {
    FUZZ_CHECK(digests.insert(entry.digest).second);
    FUZZ_CHECK(IsTenantName(entry.owner.tenant), entry.owner.tenant);
    FUZZ_CHECK(IsTenantWeight(entry.owner.weight), entry.owner.weight);
    const auto [weight, is_new] = weights.emplace(entry.owner.tenant, entry.owner.weight);
    FUZZ_CHECK(weight->second == entry.owner.weight, entry.owner.tenant);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string path = PutScratchFile("keys.json", InputText(data, size));
  const auto file = ReadApiKeyFile(path);
  if (file.ok()) {
    CheckEntries(file->entries);
  } else {
    CheckRefusal(file.status(), absl::StatusCode::kInvalidArgument);
  }
  const auto keys = ApiKeys::Open(path);
  FUZZ_CHECK(keys.ok() == (file.ok() && !file->entries.empty()));
  if (!keys.ok()) {
    CheckRefusal(keys.status(), absl::StatusCode::kInvalidArgument);
    return 0;
  }
  // A digest is not the key, and no key is known whose digest is not in the file.
  FUZZ_CHECK(!(*keys)->Find(""));
  FUZZ_CHECK(!(*keys)->Find("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
  return 0;
}
