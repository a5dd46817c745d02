#include "trainer/eval/token_score.h"

#include <algorithm>
#include <cmath>

#include "model/sampling/logit_math.h"

namespace sieve {
namespace {

// Independent sums let the compiler vectorise.
constexpr size_t kLanes = 8;

template <typename Term>
double Sum(size_t count, Term term) {
  double lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lanes[j] += term(i + j);
  }
  for (; i < count; ++i) lanes[0] += term(i);
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

// The sum of exp(logit - max), each of which it leaves in `weights`.
double Weigh(absl::Span<const float> logits, float max, std::vector<float>* weights) {
  weights->resize(logits.size());
  ExpWeights(logits, max, 1, absl::MakeSpan(*weights));
  return Sum(logits.size(), [w = weights->data()](size_t i) { return double{w[i]}; });
}

}  // namespace

void TokenScorer::SetDense(absl::Span<const float> logits) {
  dense_ = logits;
  best_ = ArgMax(logits);
  weight_sum_ = Weigh(logits, logits[best_], &weights_);
  log_sum_ = logits[best_] + std::log(weight_sum_);
}

TokenScore TokenScorer::Score(absl::Span<const float> logits, int32_t next) {
  const int32_t best = ArgMax(logits);
  const double log_sum = logits[best] + std::log(Weigh(logits, logits[best], &scratch_));
  const float* a = dense_.data();
  const float* b = logits.data();
  const double mean =
      Sum(logits.size(),
          [=, w = weights_.data()](size_t i) { return double{w[i]} * (double{a[i]} - b[i]); }) /
      weight_sum_;
  return {.dense_nll = log_sum_ - dense_[next],
          .sparse_nll = log_sum - logits[next],
          .kl = mean - log_sum_ + log_sum,
          .agrees = best == best_};
}

}  // namespace sieve
