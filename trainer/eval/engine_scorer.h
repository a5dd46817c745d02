#ifndef SIEVE_TRAINER_EVAL_ENGINE_SCORER_H_
#define SIEVE_TRAINER_EVAL_ENGINE_SCORER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/thread_pool.h"
#include "model/transformer.h"
#include "trainer/eval/window_scorer.h"

namespace sieve {

// Scores windows through the server's transformer: dense attention and each variant are sequences
// of one batch, which read the window chunk by chunk, as prompts are.
class EngineScorer : public WindowScorer {
 public:
  // Tokens of a sequence in one step, for `variants` of them beside the dense one: bounded so that
  // the logits of a step are.
  static int64_t ChunkTokens(int64_t variants);
  // Pages that the cache must have for windows of so many tokens.
  static int64_t Pages(int64_t variants, int64_t window);

  // `model` has variant v in slot v and takes steps of (variants + 1) * ChunkTokens(variants)
  // tokens; it is borrowed.
  EngineScorer(Transformer* model, int64_t variants, int num_threads);

  absl::StatusOr<std::vector<std::vector<WindowScores>>> Score(
      absl::Span<const int32_t> text, absl::Span<const ScoredWindow> windows) override;

 private:
  struct Chunk {
    int64_t begin = 0, end = 0;  // positions in the window
    int64_t scored = 0;          // the first whose successor is predicted
    int64_t rows = 0;            // positions whose successors are, of each sequence
  };

  absl::Status Step(absl::Span<const int32_t> window, const Chunk& chunk);
  absl::Status Compare(absl::Span<const int32_t> window, const Chunk& chunk,
                       std::vector<WindowScores>* scores);

  Transformer* const model_;
  const int64_t variants_;
  ThreadPool pool_;
  std::vector<TokenScorer> scorers_;  // of each thread
  std::vector<float> logits_;         // [variants + 1, rows, vocabulary]
};

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_ENGINE_SCORER_H_
