#include "trainer/eval/windows.h"

#include <algorithm>

namespace sieve {

std::vector<ScoredWindow> ScoredWindows(int64_t tokens, int64_t window, int64_t stride,
                                        int64_t max_windows) {
  std::vector<ScoredWindow> windows;
  int64_t seen = 0;
  for (int64_t begin = 0; seen < tokens; begin += stride) {
    if (max_windows > 0 && static_cast<int64_t>(windows.size()) == max_windows) break;
    const int64_t end = std::min(begin + window, tokens);
    const int64_t scored = std::max(begin + 1, seen);
    if (scored < end) windows.push_back({begin, scored, end});
    seen = end;
  }
  return windows;
}

}  // namespace sieve
