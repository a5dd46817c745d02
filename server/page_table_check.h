#ifndef SIEVE_SERVER_PAGE_TABLE_CHECK_H_
#define SIEVE_SERVER_PAGE_TABLE_CHECK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "server/scheduler.h"

namespace sieve {

// A group whose pages are not what the books say.
struct BrokenTable {
  int64_t group = 0;
  std::string what;
};

// Looks for page tables that would make the model read or write memory of others: a page that is
// not in the pool, that nobody holds by the books, that is in more tables than it has references,
// or that a chunk writes to while it is shared; and tables too short for their chunk. Where two
// tables claim one page, both are broken, for none can be told to be right. O(pages held), and
// keeps its memory from step to step.
class PageTableCheck {
 public:
  // The groups, each once.
  std::vector<BrokenTable> Find(const StepPlan& plan, const Scheduler& scheduler);

 private:
  std::vector<int32_t> places_;  // by page: in how many tables
};

}  // namespace sieve

#endif  // SIEVE_SERVER_PAGE_TABLE_CHECK_H_
