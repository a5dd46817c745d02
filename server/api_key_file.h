#ifndef SIEVE_SERVER_API_KEY_FILE_H_
#define SIEVE_SERVER_API_KEY_FILE_H_

#include <array>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sieve {

// Whom a key stands for.
struct KeyOwner {
  std::string tenant;
  double weight = 1;   // shares of the server are in proportion
  bool admin = false;  // may load and unload adapters
};

using Sha256 = std::array<unsigned char, 32>;

Sha256 Sha256Of(absl::string_view text);

struct ApiKeyEntry {
  Sha256 digest;  // of the key, which itself is kept nowhere
  KeyOwner owner;
};

struct ApiKeyFile {
  std::vector<ApiKeyEntry> entries;
  Sha256 digest;  // of the file, to tell versions apart
};

// Reads
//   {"keys": [{"sha256": "64 hex digits", "tenant": "name", "weight": 2.0, "admin": true,
//              "note": "any text"}]}
// where weight (default 1), admin (default false) and note may be left out. A tenant may have
// several keys, all of one weight. Errors as of ReadSmallFile, and INVALID_ARGUMENT with path and
// reason for anything else: unknown fields, a digest given twice, a tenant's name or weight that is
// none (server/tenant.h).
absl::StatusOr<ApiKeyFile> ReadApiKeyFile(const std::string& path);

}  // namespace sieve

#endif  // SIEVE_SERVER_API_KEY_FILE_H_
