#include "server/page_table_check.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

namespace sieve {
namespace {

// Of one table, or empty. `places` is complete but for pages outside the pool.
std::string TroubleOf(absl::Span<const int32_t> pages, absl::Span<const int32_t> places,
                      const PagePool& pool) {
  for (const int32_t page : pages) {
    if (page < 0 || page >= pool.num_pages()) {
      return absl::StrCat("page ", page, " is not one of the ", pool.num_pages(), " there are");
    }
    if (places[page] > pool.references(page)) {
      return absl::StrCat("page ", page, " is in ", places[page], " tables and has ",
                          pool.references(page), " references");
    }
  }
  return "";
}

// Of what a chunk writes to. REQUIRES: no trouble of its table.
std::string TroubleOf(const Chunk& chunk, absl::Span<const int32_t> pages, const PagePool& pool) {
  const int64_t first = chunk.start / kPageTokens;
  const int64_t last = (chunk.start + chunk.count - 1) / kPageTokens;
  if (last >= pages.size()) {
    return absl::StrCat("position ", chunk.start + chunk.count - 1, " is beyond the ", pages.size(),
                        " pages of the table");
  }
  for (int64_t i = first; i <= last; ++i) {
    if (pool.IsShared(pages[i])) {
      return absl::StrCat("page ", pages[i], " is to be written and has ",
                          pool.references(pages[i]), " references");
    }
  }
  return "";
}

}  // namespace

std::vector<BrokenTable> PageTableCheck::Find(const StepPlan& plan, const Scheduler& scheduler) {
  const PagePool& pool = scheduler.pool();
  places_.assign(pool.num_pages(), 0);
  scheduler.ForEachRunning([&](SequenceId, absl::Span<const int32_t> pages) {
    for (const int32_t page : pages) {
      if (page >= 0 && page < pool.num_pages()) ++places_[page];
    }
  });
  std::vector<BrokenTable> broken;
  absl::flat_hash_set<int64_t> groups;
  const auto add = [&](int64_t group, std::string what) {
    if (!what.empty() && groups.insert(group).second) broken.push_back({group, std::move(what)});
  };
  scheduler.ForEachRunning([&](SequenceId id, absl::Span<const int32_t> pages) {
    add(id.group, TroubleOf(pages, places_, pool));
  });
  for (const Chunk& chunk : plan.chunks) {
    if (groups.contains(chunk.sequence.group)) continue;
    add(chunk.sequence.group, TroubleOf(chunk, scheduler.pages(chunk.sequence), pool));
  }
  return broken;
}

}  // namespace sieve
