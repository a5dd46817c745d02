#ifndef SIEVE_SERVER_API_KEYS_H_
#define SIEVE_SERVER_API_KEYS_H_

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/api_key_file.h"
#include "server/small_file.h"

namespace sieve {

// The keys that may use the server, from a file (api_key_file.h) that is read again when it
// changes. A new version that cannot be used is logged, and the keys stay as they were.
// Thread-safe.
class ApiKeys {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;

  // Errors as of ReadApiKeyFile, and INVALID_ARGUMENT for a file without keys.
  static absl::StatusOr<std::unique_ptr<ApiKeys>> Open(
      const std::string& path, Clock clock = std::chrono::steady_clock::now);

  // Whose key it is; none for a key that is not known. The time it takes depends on the number of
  // keys and on the length of `key`, not on which of them it is like. Looks at the file first, if
  // that was last done a second ago or more.
  std::optional<KeyOwner> Find(absl::string_view key) const;

 private:
  ApiKeys(std::string path, Clock clock, ApiKeyFile file);

  std::shared_ptr<const std::vector<ApiKeyEntry>> Current() const;
  void ReloadIfChanged() const;  // REQUIRES: mutex_ is held

  const std::string path_;
  const Clock clock_;
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  mutable std::chrono::steady_clock::time_point next_look_;
  mutable std::shared_ptr<const std::vector<ApiKeyEntry>> entries_;
  mutable FileStamp seen_;         // the version that was last read, usable or not
  mutable bool settled_ = false;   // no later version can have the same stamp
  mutable std::string complaint_;  // the last one, so that it is not repeated every second
};

}  // namespace sieve

#endif  // SIEVE_SERVER_API_KEYS_H_
