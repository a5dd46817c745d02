#include "model/cache/page_pool.h"

#include <algorithm>

#include "absl/base/internal/raw_logging.h"
#include "absl/strings/str_cat.h"

namespace sieve {

PagePool::PagePool(int64_t num_pages, Hasher hasher)
    : hasher_(hasher), references_(num_pages), pages_(num_pages) {
  free_.reserve(num_pages);
  for (int64_t page = num_pages - 1; page >= 0; --page) free_.push_back(page);
}

bool PagePool::Allocate(int64_t count, std::vector<int32_t>* pages) {
  if (count > available_pages()) return false;
  for (int64_t i = 0; i < count; ++i) {
    if (free_.empty()) EvictOne();
    const int32_t page = free_.back();
    free_.pop_back();
    references_[page] = 1;
    pages->push_back(page);
  }
  return true;
}

void PagePool::AddRef(int32_t page) {
  ABSL_RAW_CHECK(references_[page] > 0, "a reference to a page that nobody holds");
  ++references_[page];
}

void PagePool::Release(absl::Span<const int32_t> pages) {
  for (auto page = pages.rbegin(); page != pages.rend(); ++page) Unreference(*page);
}

int32_t PagePool::Publish(int32_t page, int32_t parent, absl::Span<const int32_t> tokens,
                          const PrefixHash& root) {
  ABSL_RAW_CHECK(tokens.size() == kPageTokens, "only full pages are indexed");
  Page& entry = pages_[page];
  if (entry.indexed || (parent != kNoPage && !pages_[parent].indexed)) return page;
  const PrefixHash hash = hasher_(parent == kNoPage ? root : pages_[parent].hash, tokens);
  std::unique_lock lock(index_mutex_);
  const auto [slot, is_new] = index_.try_emplace(hash, page);
  if (is_new) {
    entry.indexed = true;
    entry.parent = parent;
    entry.root = root;
    entry.hash = hash;
    std::copy(tokens.begin(), tokens.end(), entry.tokens.begin());
    return page;
  }
  lock.unlock();
  const int32_t twin = Find(hash, root, parent, tokens);
  if (twin == kNoPage) return page;  // another prefix with the same hash keeps its place
  Reference(twin);
  Unreference(page);
  return twin;
}

std::vector<int32_t> PagePool::TakePrefix(absl::Span<const int32_t> tokens,
                                          const PrefixHash& root) {
  std::vector<int32_t> found;
  PrefixHash hash = root;
  int32_t parent = kNoPage;
  for (; tokens.size() >= kPageTokens; tokens.remove_prefix(kPageTokens)) {
    const absl::Span<const int32_t> page_tokens = tokens.first(kPageTokens);
    hash = hasher_(hash, page_tokens);
    parent = Find(hash, root, parent, page_tokens);
    if (parent == kNoPage) break;
    Reference(parent);
    found.push_back(parent);
  }
  return found;
}

int64_t PagePool::CountPrefix(absl::Span<const int32_t> tokens, const PrefixHash& root) const {
  int64_t found = 0;
  PrefixHash hash = root;
  int32_t parent = kNoPage;
  for (; tokens.size() >= kPageTokens; tokens.remove_prefix(kPageTokens)) {
    const absl::Span<const int32_t> page_tokens = tokens.first(kPageTokens);
    hash = hasher_(hash, page_tokens);
    std::lock_guard lock(index_mutex_);
    parent = Find(hash, root, parent, page_tokens);
    if (parent == kNoPage) break;
    ++found;
  }
  return found;
}

void PagePool::Recount(absl::Span<const absl::Span<const int32_t>> tables) {
  {
    std::lock_guard lock(index_mutex_);
    index_.clear();
    for (Page& page : pages_) page.indexed = false;
  }
  unused_.clear();
  free_.clear();
  std::fill(references_.begin(), references_.end(), 0);
  for (const absl::Span<const int32_t> table : tables) {
    for (const int32_t page : table) {
      if (page >= 0 && page < num_pages()) ++references_[page];
    }
  }
  for (int64_t page = num_pages() - 1; page >= 0; --page) {
    if (references_[page] == 0) free_.push_back(page);
  }
}

// Compares the tokens, the parent and the root too, so that equal hashes never hand out another
// prompt's or another adapter's cache.
int32_t PagePool::Find(const PrefixHash& hash, const PrefixHash& root, int32_t parent,
                       absl::Span<const int32_t> tokens) const {
  const auto slot = index_.find(hash);
  if (slot == index_.end()) return kNoPage;
  const Page& entry = pages_[slot->second];
  const bool same = entry.parent == parent && entry.root == root &&
                    std::equal(tokens.begin(), tokens.end(), entry.tokens.begin());
  return same ? slot->second : kNoPage;
}

void PagePool::Reference(int32_t page) {
  if (references_[page]++ == 0) unused_.erase(pages_[page].place);
}

void PagePool::Unreference(int32_t page) {
  Page& entry = pages_[page];
  ABSL_RAW_CHECK(references_[page] > 0, "a page was released more often than taken");
  if (--references_[page] > 0) return;
  if (entry.indexed) {
    entry.place = unused_.insert(unused_.end(), page);
  } else {
    free_.push_back(page);
  }
}

void PagePool::EvictOne() {
  const int32_t page = unused_.front();
  unused_.pop_front();
  std::lock_guard lock(index_mutex_);
  index_.erase(pages_[page].hash);
  pages_[page].indexed = false;
  free_.push_back(page);
}

std::string PagePool::CheckConsistency() const {
  std::vector<int> places(pages_.size(), 0);  // free or cached
  for (const int32_t page : free_) {
    ++places[page];
    if (pages_[page].indexed) return absl::StrCat("page ", page, " is free and indexed");
  }
  for (const int32_t page : unused_) {
    ++places[page];
    if (!pages_[page].indexed) return absl::StrCat("page ", page, " is cached but not indexed");
  }
  int64_t indexed = 0;
  for (int64_t page = 0; page < num_pages(); ++page) {
    const Page& entry = pages_[page];
    if (places[page] != (references_[page] == 0 ? 1 : 0)) {
      return absl::StrCat("page ", page, " has ", references_[page], " references and is in ",
                          places[page], " lists");
    }
    if (!entry.indexed) continue;
    ++indexed;
    const auto slot = index_.find(entry.hash);
    if (slot == index_.end() || slot->second != page) {
      return absl::StrCat("page ", page, " is missing from the index");
    }
    if (entry.parent == kNoPage) continue;
    if (!pages_[entry.parent].indexed) return absl::StrCat("page ", page, " lost its parent");
    if (references_[page] > 0 && references_[entry.parent] == 0) {
      return absl::StrCat("page ", page, " is held without its parent ", entry.parent);
    }
  }
  if (indexed != index_.size()) {
    return absl::StrCat("the index has ", index_.size(), " entries for ", indexed, " pages");
  }
  return "";
}

}  // namespace sieve
