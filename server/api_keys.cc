#include "server/api_keys.h"

#include <openssl/crypto.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "spdlog/spdlog.h"

namespace sieve {
namespace {

constexpr std::chrono::seconds kLookInterval(1);

// Two writes within one tick of the file system's clock leave the same stamp. A version this old
// cannot be followed by such a one.
bool IsSettled(const FileStamp& stamp) {
  return absl::ToUnixNanos(absl::Now()) - stamp.changed_ns > 1'000'000'000;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ApiKeys>> ApiKeys::Open(const std::string& path, Clock clock) {
  absl::StatusOr<ApiKeyFile> file = ReadApiKeyFile(path);
  if (!file.ok()) return file.status();
  if (file->entries.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": no keys; nobody could use the server"));
  }
  return std::unique_ptr<ApiKeys>(new ApiKeys(path, std::move(clock), *std::move(file)));
}

ApiKeys::ApiKeys(std::string path, Clock clock, ApiKeyFile file)
    : path_(std::move(path)),
      clock_(std::move(clock)),
      next_look_(clock_() + kLookInterval),
      entries_(std::make_shared<const std::vector<ApiKeyEntry>>(std::move(file.entries))),
      seen_(file.stamp),
      settled_(IsSettled(file.stamp)) {}

std::optional<KeyOwner> ApiKeys::Find(absl::string_view key) const {
  const std::shared_ptr<const std::vector<ApiKeyEntry>> entries = Current();
  const Sha256 digest = Sha256Of(key);
  // Every entry is compared and no branch depends on the outcome until the end.
  size_t found = entries->size();
  for (size_t i = 0; i < entries->size(); ++i) {
    const int differs = CRYPTO_memcmp(digest.data(), (*entries)[i].digest.data(), digest.size());
    const size_t mask = size_t{0} - static_cast<size_t>(differs == 0);
    found = (found & ~mask) | (i & mask);
  }
  if (found == entries->size()) return std::nullopt;
  return (*entries)[found].owner;
}

std::shared_ptr<const std::vector<ApiKeyEntry>> ApiKeys::Current() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (const auto now = clock_(); now >= next_look_) {
    next_look_ = now + kLookInterval;
    ReloadIfChanged();
  }
  return entries_;
}

void ApiKeys::ReloadIfChanged() const {
  const absl::StatusOr<FileStamp> stamp = StampOf(path_);
  if (stamp.ok() && *stamp == seen_ && settled_) return;
  absl::StatusOr<ApiKeyFile> file = ReadApiKeyFile(path_);
  if (!file.ok()) {
    if (stamp.ok()) seen_ = *stamp;
    settled_ = stamp.ok() && IsSettled(*stamp);
    if (file.status().message() != complaint_) {
      complaint_ = std::string(file.status().message());
      spdlog::error("API keys stay as they were: {}", complaint_);
    }
    return;
  }
  const bool is_new = !(file->stamp == seen_) || !complaint_.empty();
  complaint_.clear();
  seen_ = file->stamp;
  settled_ = IsSettled(file->stamp);
  entries_ = std::make_shared<const std::vector<ApiKeyEntry>>(std::move(file->entries));
  if (!is_new) return;
  // An emptied list is how every key is taken back.
  if (entries_->empty()) {
    spdlog::warn("{}: no keys are left; every caller is refused", path_);
  } else {
    spdlog::info("{}: {} API keys read again", path_, entries_->size());
  }
}

}  // namespace sieve
