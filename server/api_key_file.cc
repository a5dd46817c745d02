#include "server/api_key_file.h"

#include <openssl/sha.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/json.h"
#include "model/checkpoint/quoted.h"
#include "server/small_file.h"
#include "server/tenant.h"

namespace sieve {
namespace {

using nlohmann::json;

absl::Status Invalid(absl::string_view message) { return absl::InvalidArgumentError(message); }

absl::StatusOr<Sha256> ReadDigest(const json& entry) {
  std::string hex;
  if (absl::Status status = GetField(entry, "sha256", hex); !status.ok()) return status;
  // What stands there may be a key, by mistake: it is not repeated.
  const bool digits = hex.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
  Sha256 digest;
  if (!digits || hex.size() != 2 * digest.size()) {
    return Invalid("\"sha256\" is not 64 hex digits, the SHA-256 of the key");
  }
  const std::string bytes = absl::HexStringToBytes(hex);
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

absl::StatusOr<ApiKeyEntry> ReadEntry(const json& entry) {
  absl::Status status = CheckKeys(entry, {"sha256", "tenant", "weight", "admin", "note"});
  const absl::StatusOr<Sha256> digest = ReadDigest(entry);
  KeyOwner owner;
  std::string note;
  status.Update(digest.status());
  status.Update(GetField(entry, "tenant", owner.tenant));
  status.Update(GetField(entry, "weight", owner.weight));
  status.Update(GetField(entry, "admin", owner.admin));
  status.Update(GetField(entry, "note", note));
  if (!status.ok()) return status;
  if (!IsTenantName(owner.tenant)) {
    return Invalid(
        absl::StrCat("\"tenant\" is ", Quoted(owner.tenant), "; expected ", kTenantNameRule));
  }
  if (!IsTenantWeight(owner.weight)) {
    return Invalid(absl::StrCat("\"weight\" is ", owner.weight, "; expected ", kTenantWeightRule));
  }
  return ApiKeyEntry{*digest, std::move(owner)};
}

absl::StatusOr<std::vector<ApiKeyEntry>> Parse(const std::string& text) {
  const absl::StatusOr<json> object = ParseJsonObject(text);
  if (!object.ok()) return object.status();
  if (absl::Status status = CheckKeys(*object, {"keys"}); !status.ok()) return status;
  const auto keys = object->find("keys");
  if (keys == object->end() || !keys->is_array()) return Invalid("no \"keys\" array");

  std::vector<ApiKeyEntry> entries;
  std::set<Sha256> digests;
  std::map<std::string, double> weights;
  for (const json& key : *keys) {
    absl::StatusOr<ApiKeyEntry> entry = ReadEntry(key);
    absl::Status status = entry.status();
    if (status.ok() && !digests.insert(entry->digest).second) {
      status = Invalid("\"sha256\" stands in an entry before");
    }
    if (status.ok()) {
      const double weight = weights.emplace(entry->owner.tenant, entry->owner.weight).first->second;
      if (weight != entry->owner.weight) {
        status = Invalid(absl::StrCat("tenant ", entry->owner.tenant, " has weight ",
                                      entry->owner.weight, " here and ", weight, " before"));
      }
    }
    if (!status.ok()) {
      return Invalid(absl::StrCat("keys[", entries.size(), "]: ", status.message()));
    }
    entries.push_back(*std::move(entry));
  }
  return entries;
}

}  // namespace

Sha256 Sha256Of(absl::string_view text) {
  Sha256 digest;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return digest;
}

absl::StatusOr<ApiKeyFile> ReadApiKeyFile(const std::string& path) {
  const absl::StatusOr<SmallFile> file = ReadSmallFile(path);
  if (!file.ok()) return file.status();
  absl::StatusOr<std::vector<ApiKeyEntry>> entries = Parse(file->content);
  if (!entries.ok()) return Invalid(absl::StrCat(path, ": ", entries.status().message()));
  return ApiKeyFile{*std::move(entries), Sha256Of(file->content)};
}

}  // namespace sieve
