#ifndef SIEVE_TRAINER_EVAL_TOKEN_SCORE_H_
#define SIEVE_TRAINER_EVAL_TOKEN_SCORE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace sieve {

// How one token was predicted, in nats.
struct TokenScore {
  double dense_nll = 0;   // -log of the token's probability
  double sparse_nll = 0;  // under sparse attention
  double kl = 0;          // KL(dense || sparse) of the whole distribution
  bool agrees = false;    // whether both hold the same token for the most probable
};

// Scores sparse predictions of one token against the dense one. Keeps scratch: not thread-safe.
class TokenScorer {
 public:
  // The dense model's logits [vocabulary] at the token before, which are kept by reference.
  // REQUIRES: all finite.
  void SetDense(absl::Span<const float> logits);

  // `next` is the token that came. REQUIRES: SetDense, as many logits, all finite.
  TokenScore Score(absl::Span<const float> logits, int32_t next);

 private:
  absl::Span<const float> dense_;
  std::vector<float> weights_, scratch_;  // exp(logit - max)
  double log_sum_ = 0, weight_sum_ = 0;   // of the dense
  int32_t best_ = 0;
};

}  // namespace sieve

#endif  // SIEVE_TRAINER_EVAL_TOKEN_SCORE_H_
