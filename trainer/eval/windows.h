#ifndef SIEVE_TRAINER_EVAL_WINDOWS_H_
#define SIEVE_TRAINER_EVAL_WINDOWS_H_

#include <cstdint>
#include <vector>

namespace sieve {

// Tokens begin … end-1 of a text are read from position 0 on, and each from `scored` on is
// predicted from those before it. begin < scored < end.
struct ScoredWindow {
  int64_t begin = 0;
  int64_t scored = 0;
  int64_t end = 0;

  int64_t length() const { return end - begin; }
};

// A window of `window` tokens at every `stride`, the last one shorter where the text ends; each
// predicts what no window before it did, so that every token is predicted once, with at least
// window - stride before it but in the first window. With stride == window the first token of each
// window is not predicted. None for a text of less than two tokens. `max_windows` 0: all.
// REQUIRES: 1 <= stride <= window, window >= 2.
std::vector<ScoredWindow> ScoredWindows(int64_t tokens, int64_t window, int64_t stride,
                                        int64_t max_windows);

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_WINDOWS_H_
