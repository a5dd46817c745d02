#include "model/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/status/status.h"
#include "kernels/sampling_math.h"
#include "model/sampling/logit_math.h"

namespace sieve {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();

// What UniformAt is made of.
uint64_t BitsOf(double uniform) { return static_cast<uint64_t>(uniform * 0x1p53); }

}  // namespace

TokenHistory::TokenHistory(absl::Span<const int32_t> prompt) {
  for (const int32_t token : prompt) counts_.try_emplace(token, 0);
}

void TokenHistory::Append(int32_t generated) { ++counts_[generated]; }

bool HasPenalties(const SamplingParams& params) {
  return params.repetition_penalty != 1 || params.presence_penalty != 0 ||
         params.frequency_penalty != 0;
}

absl::Status LogitsNotFiniteError() {
  return absl::InternalError("the model gave logits that are not finite");
}

absl::Status NoTokenLeftError() {
  return absl::InvalidArgumentError("no token is left to draw: every one is an end or a stop");
}

absl::StatusOr<int32_t> Sampler::Draw(absl::Span<const float> logits, const SamplingParams& params,
                                      const TokenHistory* history, absl::Span<const int32_t> banned,
                                      double uniform) {
  if (!AllFinite(logits)) return LogitsNotFiniteError();
  logits = Adjust(logits, params, history, banned);
  const float max = MaxLogit(logits);
  if (max == kBanned) return NoTokenLeftError();
  if (params.temperature <= 0 || params.top_k == 1) return ArgMax(logits);

  weights_.resize(logits.size());
  const uint64_t total =
      ExpWeights(logits, max, InverseTemperature(params.temperature), absl::MakeSpan(weights_));
  const bool top_k = params.top_k > 0 && params.top_k < logits.size();
  if (!top_k && params.top_p >= 1 && params.min_p <= 0) return DrawFromAll(total, uniform);
  if (top_k) {
    KeepTopK(logits, params.top_k);
  } else if (params.top_p < 1) {
    // All tokens lighter than this together weigh less than what top-p leaves out.
    const double mass = std::ldexp(static_cast<double>(total), -kWeightBits);
    KeepHeavierThan(logits, (1.0 - params.top_p) * mass / logits.size() * 0.5);
  } else {
    KeepHeavierThan(logits, std::nextafter(params.min_p, 0.0f));
  }
  if (params.top_p < 1) KeepTopP(TopPUnits(params.top_p, top_k ? UnitsOfCandidates() : total));
  // The most probable token weighs exp(0) = 1.
  std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < params.min_p; });
  return DrawFromCandidates(uniform);
}

// The row itself, or a changed copy.
absl::Span<const float> Sampler::Adjust(absl::Span<const float> logits,
                                        const SamplingParams& params, const TokenHistory* history,
                                        absl::Span<const int32_t> banned) {
  const bool penalties = history != nullptr && HasPenalties(params);
  if (params.logit_bias.empty() && !penalties && banned.empty()) return logits;
  adjusted_.assign(logits.begin(), logits.end());
  for (const auto& [token, bias] : params.logit_bias) {
    adjusted_[token] = BiasedLogit(adjusted_[token], bias);
  }
  if (penalties) {
    const Penalties amounts = {params.repetition_penalty, params.presence_penalty,
                               params.frequency_penalty};
    for (const auto& [token, count] : history->counts()) {
      adjusted_[token] = PenalisedLogit(adjusted_[token], count, amounts);
    }
  }
  for (const int32_t token : banned) adjusted_[token] = kBanned;
  return adjusted_;
}

void Sampler::KeepTopK(absl::Span<const float> logits, int32_t k) {
  candidates_.clear();
  for (const int32_t token : TopIndices(logits, k)) {
    candidates_.push_back({token, logits[token], weights_[token]});
  }
}

void Sampler::KeepHeavierThan(absl::Span<const float> logits, float weight) {
  candidates_.clear();
  for (int32_t token = 0; token < weights_.size(); ++token) {
    if (weights_[token] > weight) candidates_.push_back({token, logits[token], weights_[token]});
  }
}

uint64_t Sampler::UnitsOfCandidates() const {
  uint64_t units = 0;
  for (const Candidate& candidate : candidates_) units += UnitsOf(candidate.weight);
  return units;
}

// Keeps the best candidates up to and with the one that reaches `units`. A heap gives them in order
// at the cost of those that are kept, not of a sort of all.
void Sampler::KeepTopP(uint64_t units) {
  const auto worse = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit < b.logit : a.token > b.token;
  };
  std::make_heap(candidates_.begin(), candidates_.end(), worse);
  auto end = candidates_.end();
  uint64_t sum = 0;
  while (end != candidates_.begin() && sum < units) {
    std::pop_heap(candidates_.begin(), end, worse);
    --end;
    sum += UnitsOf(end->weight);
  }
  candidates_.erase(candidates_.begin(), end);
}

int32_t Sampler::DrawFromAll(uint64_t total, double uniform) const {
  const uint64_t drawn = DrawnUnits(BitsOf(uniform), total);
  uint64_t sum = 0;
  int32_t token = -1;
  while (sum <= drawn) sum += UnitsOf(weights_[++token]);
  return token;
}

int32_t Sampler::DrawFromCandidates(double uniform) {
  std::sort(candidates_.begin(), candidates_.end(),
            [](const Candidate& a, const Candidate& b) { return a.token < b.token; });
  const uint64_t drawn = DrawnUnits(BitsOf(uniform), UnitsOfCandidates());
  uint64_t sum = 0;
  auto candidate = candidates_.begin();
  while ((sum += UnitsOf(candidate->weight)) <= drawn) ++candidate;
  return candidate->token;
}

}  // namespace sieve
