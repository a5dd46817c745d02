#include "server/api_keys.h"

#include <openssl/crypto.h>

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace sieve {

absl::StatusOr<std::unique_ptr<ApiKeys>> ApiKeys::Open(const std::string& path,
                                                       FileWatch::Clock clock) {
  FileWatch watch({path}, std::move(clock));
  absl::StatusOr<ApiKeyFile> file = ReadApiKeyFile(path);
  if (!file.ok()) return file.status();
  if (file->entries.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": no keys; nobody could use the server"));
  }
  return std::unique_ptr<ApiKeys>(new ApiKeys(path, std::move(watch), *std::move(file)));
}

ApiKeys::ApiKeys(std::string path, FileWatch watch, ApiKeyFile file)
    : path_(std::move(path)),
      watch_(std::move(watch)),
      file_(std::make_shared<const ApiKeyFile>(std::move(file))) {}

std::optional<KeyOwner> ApiKeys::Find(absl::string_view key) const {
  const std::shared_ptr<const ApiKeyFile> file = Current();
  const std::vector<ApiKeyEntry>& entries = file->entries;
  const Sha256 digest = Sha256Of(key);
  // Every entry is compared and no branch depends on the outcome until the end.
  size_t found = entries.size();
  for (size_t i = 0; i < entries.size(); ++i) {
    const int differs = CRYPTO_memcmp(digest.data(), entries[i].digest.data(), digest.size());
    const size_t mask = size_t{0} - static_cast<size_t>(differs == 0);
    found = (found & ~mask) | (i & mask);
  }
  if (found == entries.size()) return std::nullopt;
  return entries[found].owner;
}

std::shared_ptr<const ApiKeyFile> ApiKeys::Current() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (watch_.MayHaveChanged()) Reload();
  return file_;
}

void ApiKeys::Reload() const {
  absl::StatusOr<ApiKeyFile> file = ReadApiKeyFile(path_);
  if (!file.ok()) {
    if (file.status().message() == complaint_) return;
    complaint_ = std::string(file.status().message());
    spdlog::error("API keys stay as they were: {}", complaint_);
    return;
  }
  if (file->digest == file_->digest && complaint_.empty()) return;
  complaint_.clear();
  file_ = std::make_shared<const ApiKeyFile>(*std::move(file));
  // An emptied list is how every key is taken back.
  if (file_->entries.empty()) {
    spdlog::warn("{}: no keys are left; every caller is refused", path_);
  } else {
    spdlog::info("{}: {} API keys read again", path_, file_->entries.size());
  }
}

}  // namespace sieve
