#include "server/cache_accounts.h"

#include <algorithm>

namespace sieve {

void CacheAccounts::AdvanceTo(absl::Time now) {
  // A clock that was set back adds nothing.
  const double seconds = std::max(0.0, absl::ToDoubleSeconds(now - now_));
  now_ = now;
  if (seconds == 0) return;
  for (auto& [group, use] : uses_) use.page_seconds += use.pages * seconds;
}

void CacheAccounts::Update(const Scheduler& scheduler) {
  for (auto& [group, use] : uses_) use.pages = 0;
  total_pages_ = 0;
  const PagePool& pool = scheduler.pool();
  scheduler.ForEachRunning([&](SequenceId id, absl::Span<const int32_t> pages) {
    double share = 0;
    for (const int32_t page : pages) share += 1.0 / pool.references(page);
    uses_[id.group].pages += share;
    total_pages_ += share;
  });
  for (auto& [group, use] : uses_) use.peak_pages = std::max(use.peak_pages, use.pages);
}

CacheAccounts::Use CacheAccounts::Get(int64_t group) const {
  const auto use = uses_.find(group);
  return use == uses_.end() ? Use() : use->second;
}

}  // namespace sieve
