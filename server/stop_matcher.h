#ifndef SIEVE_SERVER_STOP_MATCHER_H_
#define SIEVE_SERVER_STOP_MATCHER_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace sieve {

// Finds several texts in a stream of bytes, each by the automaton of Knuth, Morris and Pratt: a
// byte costs a few operations a text, however the stream is cut.
class StopMatcher {
 public:
  // REQUIRES: no text is empty.
  explicit StopMatcher(absl::Span<const std::string> texts);

  // The index of the text that this byte completes, the longest if there are several; -1 for none.
  int Advance(char byte);

  // How many of the latest bytes are the beginning of a text, and so may yet become the whole.
  size_t pending() const;

  const std::string& text(int index) const { return patterns_[index].text; }

 private:
  struct Pattern {
    std::string text;
    std::vector<size_t> border;  // [i]: longest proper prefix of text[0, i) that is also its suffix
    size_t matched = 0;          // latest bytes that are a prefix of text
  };
  std::vector<Pattern> patterns_;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_STOP_MATCHER_H_
