#include "model/sampling/logit_math.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace sieve {
namespace {

// Independent lanes let the compiler vectorise reductions without reordering floating-point
// operations itself.
constexpr int64_t kLanes = 16;

// exp(x) for x <= 0 by the usual reduction x = n ln 2 + r and a polynomial in r; ordinary
// arithmetic only, so that a loop over it vectorises and every machine gives the same bits.
inline float ExpOfNegative(float x) {
  constexpr float kLog2e = 1.44269504f;
  constexpr float kLn2High = 0.693359375f;
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float clamped = std::max(x, -87.0f);
  const float n = (clamped * kLog2e + kRound) - kRound;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const float power = std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
  return x < -87.0f ? 0.0f : p * power;
}

}  // namespace

bool AllFinite(absl::Span<const float> logits) {
  constexpr uint32_t kExponent = 0x7f800000;
  uint32_t bad = 0;
  for (const float logit : logits) {
    bad |= (std::bit_cast<uint32_t>(logit) & kExponent) == kExponent ? 1 : 0;
  }
  return bad == 0;
}

float MaxLogit(absl::Span<const float> logits) {
  float lanes[kLanes];
  std::fill(lanes, lanes + kLanes, -std::numeric_limits<float>::infinity());
  const int64_t size = logits.size();
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) lanes[j] = std::max(lanes[j], logits[i + j]);
  }
  for (; i < size; ++i) lanes[0] = std::max(lanes[0], logits[i]);
  return *std::max_element(lanes, lanes + kLanes);
}

int32_t ArgMax(absl::Span<const float> logits) {
  return std::find(logits.begin(), logits.end(), MaxLogit(logits)) - logits.begin();
}

double ExpWeights(absl::Span<const float> logits, float max, float inverse_temperature,
                  absl::Span<float> weights) {
  const int64_t size = logits.size();
  const float* const in = logits.data();
  float* const out = weights.data();
  for (int64_t i = 0; i < size; ++i) out[i] = ExpOfNegative((in[i] - max) * inverse_temperature);
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) lanes[j] += weights[i + j];
  }
  for (; i < size; ++i) lanes[0] += weights[i];
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

std::vector<int32_t> TopIndices(absl::Span<const float> values, int64_t k) {
  const auto better = [&](int32_t a, int32_t b) {
    return values[a] != values[b] ? values[a] > values[b] : a < b;
  };
  const int32_t size = values.size();
  std::vector<int32_t> heap(std::clamp<int64_t>(k, 0, size));
  if (heap.empty()) return heap;
  for (int32_t i = 0; i < heap.size(); ++i) heap[i] = i;
  std::make_heap(heap.begin(), heap.end(), better);  // the worst that is kept on top
  float worst = values[heap.front()];
  for (int32_t i = heap.size(); i < size; ++i) {
    if (values[i] <= worst) continue;
    std::pop_heap(heap.begin(), heap.end(), better);
    heap.back() = i;
    std::push_heap(heap.begin(), heap.end(), better);
    worst = values[heap.front()];
  }
  std::sort_heap(heap.begin(), heap.end(), better);
  return heap;
}

}  // namespace sieve
