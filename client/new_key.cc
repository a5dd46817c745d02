#include "client/new_key.h"

#include <openssl/rand.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/utf8.h"
#include "nlohmann/json.hpp"

namespace sieve {
namespace {

using Bytes32 = std::array<unsigned char, 32>;

absl::string_view View(const Bytes32& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The prefix lets scanners find keys where they should not be.
std::string RandomKey() {
  Bytes32 bytes;
  if (RAND_bytes(bytes.data(), bytes.size()) != 1) std::abort();  // no randomness: no key
  return absl::StrCat("sieve_", absl::WebSafeBase64Escape(View(bytes)));
}

std::string HexSha256(const std::string& text) {
  Bytes32 digest;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return absl::BytesToHexString(View(digest));
}

bool IsTenantName(const std::string& name) {
  return !name.empty() && name.size() <= 64 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
         });
}

}  // namespace

absl::Status CheckNewKeyOptions(const NewKeyOptions& options) {
  if (!IsTenantName(options.tenant)) {
    return absl::InvalidArgumentError(
        "--tenant NAME is required: whose key it is, 1 to 64 of A-Z a-z 0-9 . _ -");
  }
  if (options.weight && !(*options.weight >= 0.001 && *options.weight <= 1000)) {
    return absl::InvalidArgumentError("--weight: expected a number from 0.001 to 1000");
  }
  if (options.note && !IsUtf8(*options.note)) {
    return absl::InvalidArgumentError("--note: expected UTF-8");
  }
  return absl::OkStatus();
}

ExitCode RunNewKey(const NewKeyOptions& options, bool json, std::ostream& out) {
  const std::string key = RandomKey();
  nlohmann::ordered_json entry = {{"sha256", HexSha256(key)}, {"tenant", options.tenant}};
  if (options.weight) entry["weight"] = *options.weight;
  if (options.note) entry["note"] = *options.note;
  if (json) {
    out << nlohmann::ordered_json{{"key", key}, {"entry", entry}}.dump() << std::endl;
    return ExitCode::kOk;
  }
  out << "The key, which is not kept anywhere; for whoever calls the server:\n"
      << key << "\n\n"
      << "Its entry, for the list \"keys\" in the file of sieve_server's --api_keys:\n"
      << entry.dump() << "\n\n"
      << "A file with this key alone:\n"
      << nlohmann::ordered_json{{"keys", nlohmann::ordered_json::array({entry})}}.dump()
      << std::endl;
  return ExitCode::kOk;
}

}  // namespace sieve
