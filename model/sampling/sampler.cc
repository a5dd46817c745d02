#include "model/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/status/status.h"
#include "model/sampling/logit_math.h"

namespace sieve {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kBanned = -std::numeric_limits<float>::infinity();

float Penalised(float logit, int32_t count, const SamplingParams& params) {
  logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
  if (count > 0) logit -= params.presence_penalty + params.frequency_penalty * count;
  return std::clamp(logit, -kLargest, kLargest);  // a tiny divisor may overflow
}

}  // namespace

TokenHistory::TokenHistory(absl::Span<const int32_t> prompt) {
  for (const int32_t token : prompt) counts_.try_emplace(token, 0);
}

void TokenHistory::Append(int32_t generated) { ++counts_[generated]; }

bool HasPenalties(const SamplingParams& params) {
  return params.repetition_penalty != 1 || params.presence_penalty != 0 ||
         params.frequency_penalty != 0;
}

absl::StatusOr<int32_t> Sampler::Draw(absl::Span<const float> logits, const SamplingParams& params,
                                      const TokenHistory* history, absl::Span<const int32_t> banned,
                                      double uniform) {
  if (!AllFinite(logits)) return absl::InternalError("the model gave logits that are not finite");
  logits = Adjust(logits, params, history, banned);
  const float max = MaxLogit(logits);
  if (max == kBanned) {
    return absl::InvalidArgumentError("no token is left to draw: every one is an end or a stop");
  }
  if (params.temperature <= 0 || params.top_k == 1) return ArgMax(logits);

  const float inverse_temperature = std::min(1 / params.temperature, kLargest);
  weights_.resize(logits.size());
  const double total = ExpWeights(logits, max, inverse_temperature, absl::MakeSpan(weights_));
  const bool top_k = params.top_k > 0 && params.top_k < logits.size();
  if (!top_k && params.top_p >= 1 && params.min_p <= 0) return DrawFromAll(total, uniform);
  if (top_k) {
    KeepTopK(logits, params.top_k);
  } else if (params.top_p < 1) {
    // All tokens lighter than this together weigh less than what top-p leaves out.
    KeepHeavierThan((1.0 - params.top_p) * total / logits.size() * 0.5);
  } else {
    KeepHeavierThan(std::nextafter(params.min_p, 0.0f));
  }
  if (params.top_p < 1) {
    double mass = total;
    if (top_k) {
      mass = 0;
      for (const Candidate& candidate : candidates_) mass += candidate.weight;
    }
    KeepTopP(params.top_p * mass);
  }
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
    adjusted_[token] = std::clamp(adjusted_[token] + bias, -kLargest, kLargest);
  }
  if (penalties) {
    for (const auto& [token, count] : history->counts()) {
      adjusted_[token] = Penalised(adjusted_[token], count, params);
    }
  }
  for (const int32_t token : banned) adjusted_[token] = kBanned;
  return adjusted_;
}

void Sampler::KeepTopK(absl::Span<const float> logits, int32_t k) {
  candidates_.clear();
  for (const int32_t token : TopIndices(logits, k)) {
    if (weights_[token] > 0) candidates_.push_back({token, weights_[token]});
  }
}

void Sampler::KeepHeavierThan(float weight) {
  candidates_.clear();
  for (int32_t token = 0; token < weights_.size(); ++token) {
    if (weights_[token] > weight) candidates_.push_back({token, weights_[token]});
  }
}

// Keeps the heaviest candidates up to and with the one that reaches `mass`. A heap gives them in
// order at the cost of those that are kept, not of a sort of all.
void Sampler::KeepTopP(double mass) {
  const auto lighter = [](const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight < b.weight : a.token > b.token;
  };
  std::make_heap(candidates_.begin(), candidates_.end(), lighter);
  auto end = candidates_.end();
  double sum = 0;
  while (end != candidates_.begin() && sum < mass) {
    std::pop_heap(candidates_.begin(), end, lighter);
    --end;
    sum += end->weight;
  }
  candidates_.erase(candidates_.begin(), end);
}

int32_t Sampler::DrawFromAll(double total, double uniform) const {
  const double target = uniform * total;
  double sum = 0;
  int32_t last = 0;
  for (int32_t token = 0; token < weights_.size(); ++token) {
    if (weights_[token] == 0) continue;
    sum += weights_[token];
    last = token;
    if (sum > target) break;
  }
  return last;
}

int32_t Sampler::DrawFromCandidates(double uniform) const {
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  const double target = uniform * total;
  double sum = 0;
  for (const Candidate& candidate : candidates_) {
    sum += candidate.weight;
    if (sum > target) return candidate.token;
  }
  return candidates_.back().token;
}

}  // namespace sieve
