#ifndef SIEVE_CLIENT_WRAP_TEXT_H_
#define SIEVE_CLIENT_WRAP_TEXT_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace sieve {

// Lines of a terminal that is `width` columns wide, each filled up with spaces to that width:
// broken at spaces, within words that are longer. Characters may be two columns wide, or none
// (accents that stand by themselves); a tab is a space, other control characters are left out, so
// that nothing in the text moves the cursor. `text` is UTF-8. REQUIRES: width >= 2.
std::vector<std::string> WrapText(absl::string_view text, int width);

}  // namespace sieve

#endif  // SIEVE_CLIENT_WRAP_TEXT_H_
