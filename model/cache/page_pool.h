#ifndef SIEVE_MODEL_CACHE_PAGE_POOL_H_
#define SIEVE_MODEL_CACHE_PAGE_POOL_H_

#include <array>
#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "model/cache/geometry.h"
#include "model/cache/prefix_hash.h"

namespace sieve {

// Who holds which page of the cache: bookkeeping only, the memory is the model's. A page is
//   free    nobody's,
//   active  held by one or more sequences (references), or
//   cached  held by nobody, but indexed by the tokens that it and the pages before it hold, so that
//           a later sequence with the same prefix takes it over; given up, least recently used
//           first, when pages are wanted.
// Indexed pages form chains from the first page of a prompt on. Chains of different roots share
// nothing: the same tokens under two adapters are different keys and values. Who holds a page of a
// chain holds the pages before it too, and releases them last (Release does), so that a chain loses
// its end first. Not thread-safe but for CountPrefix.
class PagePool {
 public:
  using Hasher = PrefixHash (*)(const PrefixHash& parent, absl::Span<const int32_t> tokens);
  static constexpr int32_t kNoPage = -1;

  // Page ids are 0 .. num_pages-1. `hasher` is replaced by tests only.
  explicit PagePool(int64_t num_pages, Hasher hasher = &ChainHash);

  // Appends `count` pages to `pages`, each with one reference; takes none and returns false when
  // fewer are free or cached.
  bool Allocate(int64_t count, std::vector<int32_t>* pages);

  // One more holder of an active page.
  void AddRef(int32_t page);

  // One holder less of each of a sequence's pages, which are given in order of position.
  void Release(absl::Span<const int32_t> pages);

  // Indexes an active page that is full: `tokens` [kPageTokens] follow the tokens of `parent`
  // (kNoPage for the first page, which follows `root`). Returns the page to use from now on: `page`
  // itself, or one that holds the same prefix already, with the caller's reference moved to it. A
  // page whose parent is not indexed stays out of the index.
  int32_t Publish(int32_t page, int32_t parent, absl::Span<const int32_t> tokens,
                  const PrefixHash& root = {});

  // The longest chain of indexed pages of this root that `tokens` begin with, a reference on each
  // for the caller.
  std::vector<int32_t> TakePrefix(absl::Span<const int32_t> tokens, const PrefixHash& root = {});

  // How many pages TakePrefix would find now; takes none. Thread-safe, even while others change the
  // pool.
  int64_t CountPrefix(absl::Span<const int32_t> tokens, const PrefixHash& root = {}) const;

  // Makes the books anew from the page tables of all holders, whatever they said: pages in no table
  // become free, and none stays indexed, for what a broken table touched is not to be trusted. Page
  // ids outside the pool are left out.
  void Recount(absl::Span<const absl::Span<const int32_t>> tables);

  bool IsShared(int32_t page) const { return references_[page] > 1; }
  int32_t references(int32_t page) const { return references_[page]; }

  int64_t num_pages() const { return static_cast<int64_t>(pages_.size()); }
  int64_t free_pages() const { return static_cast<int64_t>(free_.size()); }
  int64_t cached_pages() const { return static_cast<int64_t>(unused_.size()); }
  int64_t active_pages() const { return num_pages() - free_pages() - cached_pages(); }
  int64_t available_pages() const { return free_pages() + cached_pages(); }

  // Empty, or what is wrong with the books. For tests: looks at every page.
  std::string CheckConsistency() const;

 private:
  struct Page {
    bool indexed = false;
    int32_t parent = kNoPage;  // of an indexed page
    PrefixHash root, hash;     // of an indexed page
    std::array<int32_t, kPageTokens> tokens;
    std::list<int32_t>::iterator place;  // in unused_, of a cached page
  };

  int32_t Find(const PrefixHash& hash, const PrefixHash& root, int32_t parent,
               absl::Span<const int32_t> tokens) const;
  void Reference(int32_t page);
  void Unreference(int32_t page);
  void EvictOne();

  const Hasher hasher_;
  std::vector<int32_t> references_;  // by page; dense, for it is walked in every step
  std::vector<Page> pages_;
  std::vector<int32_t> free_;
  std::list<int32_t> unused_;  // cached pages, least recently used first
  // Held while the index, and what pages_ says of indexed pages, changes or is read by CountPrefix.
  mutable std::mutex index_mutex_;
  absl::flat_hash_map<PrefixHash, int32_t> index_;
};

}  // namespace sieve

#endif  // SIEVE_MODEL_CACHE_PAGE_POOL_H_
