#ifndef SIEVE_SERVER_API_KEYS_H_
#define SIEVE_SERVER_API_KEYS_H_

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/api_key_file.h"
#include "server/file_watch.h"

namespace sieve {

// The keys that may use the server, from a file (api_key_file.h) that is read again when it
// changes. A new version that cannot be used is logged, and the keys stay as they were.
// Thread-safe.
class ApiKeys {
 public:
  // Errors as of ReadApiKeyFile, and INVALID_ARGUMENT for a file without keys.
  static absl::StatusOr<std::unique_ptr<ApiKeys>> Open(
      const std::string& path, FileWatch::Clock clock = std::chrono::steady_clock::now);

  // Whose key it is; none for a key that is not known. The time it takes depends on the number of
  // keys and on the length of `key`, not on which of them it is like. Looks at the file first, if
  // that was last done a second ago or more.
  std::optional<KeyOwner> Find(absl::string_view key) const;

 private:
  ApiKeys(std::string path, FileWatch watch, ApiKeyFile file);

  std::shared_ptr<const ApiKeyFile> Current() const;
  void Reload() const;  // REQUIRES: mutex_ is held

  const std::string path_;
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  mutable FileWatch watch_;
  mutable std::shared_ptr<const ApiKeyFile> file_;
  mutable std::string complaint_;  // the last one, so that it is not repeated every second
};

}  // namespace sieve

#endif  // SIEVE_SERVER_API_KEYS_H_
