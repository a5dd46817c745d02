#include "model/sampling/logit_math.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "kernels/cpu_features.h"
#include "model/sampling/exp_weights_avx2.h"
#include "model/sampling/exp_weights_loop.h"

namespace sieve {
namespace {

// Independent lanes let the compiler vectorise reductions without reordering floating-point
// operations itself.
constexpr int64_t kLanes = 16;

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

uint64_t ExpWeights(absl::Span<const float> logits, float max, float inverse_temperature,
                    absl::Span<float> weights) {
  const auto run = HasAvx2() ? ExpWeightsAvx2 : ExpWeightsLoop;
  return run(logits.data(), logits.size(), max, inverse_temperature, weights.data());
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
