#ifndef SIEVE_SERVER_CACHE_ACCOUNTS_H_
#define SIEVE_SERVER_CACHE_ACCOUNTS_H_

#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "server/scheduler.h"

namespace sieve {

// What each request holds of the cache, in pages: of a page with n references, one n-th for each of
// them, so that all shares add up to the pool's active pages. Between two calls of Update shares
// are taken to be constant. Not thread-safe.
class CacheAccounts {
 public:
  struct Use {
    double pages = 0;  // now
    double peak_pages = 0;
    double page_seconds = 0;
  };

  // Adds the shares of the time since the last call.
  void AdvanceTo(absl::Time now);

  // Reads the shares anew; O(pages held).
  void Update(const Scheduler& scheduler);

  Use Get(int64_t group) const;
  void Erase(int64_t group) { uses_.erase(group); }
  // Of all shares, at the last Update.
  double total_pages() const { return total_pages_; }

 private:
  absl::flat_hash_map<int64_t, Use> uses_;  // of groups that have held something
  double total_pages_ = 0;
  absl::Time now_ = absl::InfiniteFuture();
};

}  // namespace sieve

#endif  // SIEVE_SERVER_CACHE_ACCOUNTS_H_
