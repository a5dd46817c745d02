#ifndef SIEVE_CLIENT_COMPARE_VIEW_H_
#define SIEVE_CLIENT_COMPARE_VIEW_H_

#include <array>
#include <memory>
#include <ostream>
#include <string>

#include "absl/strings/string_view.h"

namespace sieve {

// How large a terminal is, in characters.
struct TerminalSize {
  int columns = 80;
  int rows = 24;
};

// Shows two texts while they grow.
class CompareView {
 public:
  virtual ~CompareView() = default;
  virtual void Append(int side, absl::string_view text) = 0;  // side is 0 or 1
  virtual void End(int side) = 0;                             // nothing more comes of it
  // Shows what was held back. Once, last, whatever came before.
  virtual void Finish() = 0;
};

// One text after the other, each under a line "--- TITLE ---"; the second waits for the end of the
// first.
std::unique_ptr<CompareView> MakeBlockView(std::array<std::string, 2> titles, std::ostream* out);

// Two columns. While the texts grow their last lines are shown, as many as the terminal has; at the
// end all of them. REQUIRES: at least kMinCompareColumns columns.
inline constexpr int kMinCompareColumns = 40;
std::unique_ptr<CompareView> MakeColumnView(std::array<std::string, 2> titles, TerminalSize size,
                                            std::ostream* out);

}  // namespace sieve

#endif  // SIEVE_CLIENT_COMPARE_VIEW_H_
