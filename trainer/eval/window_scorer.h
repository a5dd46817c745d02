#ifndef SIEVE_TRAINER_EVAL_WINDOW_SCORER_H_
#define SIEVE_TRAINER_EVAL_WINDOW_SCORER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "trainer/eval/token_score.h"
#include "trainer/eval/windows.h"

namespace sieve {

// The predicted tokens of a window, in order: [end - scored].
using WindowScores = std::vector<TokenScore>;

// Reads windows of a text with dense attention and with that of several variants.
class WindowScorer {
 public:
  virtual ~WindowScorer() = default;

  // How many windows it likes to be given together.
  virtual int64_t windows_at_once() const { return 1; }

  // [variants][windows]. INTERNAL, naming the place, when a logit is not finite; the model's
  // errors. REQUIRES: the windows are those of the text.
  virtual absl::StatusOr<std::vector<std::vector<WindowScores>>> Score(
      absl::Span<const int32_t> text, absl::Span<const ScoredWindow> windows) = 0;
};

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_WINDOW_SCORER_H_
