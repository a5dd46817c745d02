#ifndef SIEVE_MODEL_SAMPLING_SAMPLER_H_
#define SIEVE_MODEL_SAMPLING_SAMPLER_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/sampling/sampling_params.h"

namespace sieve {

// Which tokens a sample has seen, for the penalties.
class TokenHistory {
 public:
  explicit TokenHistory(absl::Span<const int32_t> prompt);

  void Append(int32_t generated);

  // By token: how often it was generated; 0 for those of the prompt only.
  const absl::flat_hash_map<int32_t, int32_t>& counts() const { return counts_; }

 private:
  absl::flat_hash_map<int32_t, int32_t> counts_;
};

// Draws tokens. In this order: logit bias, penalties, temperature, top-k, top-p, min-p, draw. Equal
// logits rank by token id, the lowest first. Weights are integers (kernels/sampling_math.h) and the
// draw runs over tokens in order of id, so that the GPU's sampler (kernels/cuda/sampling.h), which
// this specifies, can add in another order. Keeps scratch memory between calls: not thread-safe.
class Sampler {
 public:
  // `logits` [vocabulary] is the model's row; `history` may be null when no penalty is set;
  // `banned` tokens (in range) are never drawn; `uniform` in [0, 1), of which 53 bits count,
  // decides the draw. INTERNAL when a logit is not finite, INVALID_ARGUMENT when every token is
  // banned.
  absl::StatusOr<int32_t> Draw(absl::Span<const float> logits, const SamplingParams& params,
                               const TokenHistory* history, absl::Span<const int32_t> banned,
                               double uniform);

 private:
  struct Candidate {
    int32_t token;
    float logit, weight;
  };

  absl::Span<const float> Adjust(absl::Span<const float> logits, const SamplingParams& params,
                                 const TokenHistory* history, absl::Span<const int32_t> banned);
  void KeepTopK(absl::Span<const float> logits, int32_t k);
  void KeepHeavierThan(absl::Span<const float> logits, float weight);
  uint64_t UnitsOfCandidates() const;
  void KeepTopP(uint64_t units);
  int32_t DrawFromAll(uint64_t total, double uniform) const;
  int32_t DrawFromCandidates(double uniform);

  std::vector<float> adjusted_;
  std::vector<float> weights_;
  std::vector<Candidate> candidates_;
};

// Whether these parameters look at the history.
bool HasPenalties(const SamplingParams& params);

// The errors of a draw, whoever makes it.
absl::Status LogitsNotFiniteError();
absl::Status NoTokenLeftError();

}  // namespace sieve

#endif  // SIEVE_MODEL_SAMPLING_SAMPLER_H_
