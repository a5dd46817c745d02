#include "kernels/block_scores.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/block_scores_avx2.h"
#include "kernels/cache_elements.h"
#include "kernels/cpu_features.h"

namespace sieve {
namespace {

constexpr int64_t kTokens = 64;  // of a block

double LogSumExp(const std::vector<double>& logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const double l : logits) total += std::exp(l - max);
  return max + std::log(total);
}

// One block's summary, read by element.
class Summary {
 public:
  Summary(const SummaryLayout& layout, const char* base) : layout_(layout), base_(base) {}

  double Value(int64_t part, int64_t i) const {
    return LoadElement(base_ + part, layout_.dtype, i);
  }
  double Float(int64_t part, int64_t i) const {
    return reinterpret_cast<const float*>(base_ + part)[i];
  }
  double Dot(const float* q, int64_t part, int64_t row = 0) const {
    double sum = 0;
    for (int64_t i = 0; i < layout_.head_dim; ++i) {
      sum += q[i] * Value(part, row * layout_.head_dim + i);
    }
    return sum;
  }
  double Quest(const float* q) const {
    double sum = 0;
    for (int64_t i = 0; i < layout_.head_dim; ++i) {
      sum += std::max(q[i] * Value(layout_.min, i), q[i] * Value(layout_.max, i));
    }
    return sum;
  }
  double Compressed(const float* q, double scale) const {
    std::vector<double> logits(layout_.entries);
    for (int64_t e = 0; e < layout_.entries; ++e) {
      const double bias = layout_.entry_biases >= 0 ? Float(layout_.entry_biases, e) : 0;
      logits[e] = scale * Dot(q, layout_.entry_keys, e) + bias;
    }
    return LogSumExp(logits);
  }
  double Code(int64_t channel, int64_t token) const {
    const int64_t i = channel * kTokens + token;
    if (layout_.index_bits == 16) return Value(layout_.index_codes, i);
    const uint8_t two = reinterpret_cast<const uint8_t*>(base_ + layout_.index_codes)[i / 2];
    const int code = token % 2 == 0 ? two & 0xf : two >> 4;
    return Float(layout_.index_lo, channel) + Float(layout_.index_step, channel) * code;
  }
  double Index(const float* q, const float* projected, double scale) const {
    const double mean = Dot(q, layout_.mean);
    std::vector<double> logits(kTokens, mean);
    for (int64_t j = 0; j < kTokens; ++j) {
      for (int64_t i = 0; i < layout_.index_rank; ++i) logits[j] += projected[i] * Code(i, j);
      logits[j] *= scale;
    }
    return LogSumExp(logits);
  }

 private:
  const SummaryLayout& layout_;
  const char* base_;
};

double Logit(const BlockScoreParams& p, const Summary& summary, int64_t token, int64_t head) {
  const float* q = p.q + token * p.q_stride + head * p.layout.head_dim;
  switch (p.score) {
    case BlockScore::kMean:
      return p.scale * summary.Dot(q, p.layout.mean);
    case BlockScore::kMax:
      return p.scale * summary.Dot(q, p.layout.max);
    case BlockScore::kQuest:
      return p.scale * summary.Quest(q);
    case BlockScore::kQuestMean:
      return p.scale * (summary.Quest(q) + summary.Dot(q, p.layout.mean)) / 2;
    case BlockScore::kCompressed:
      return summary.Compressed(q, p.scale);
    case BlockScore::kIndex:
      return summary.Index(q, p.projected + (token * p.group + head) * p.layout.index_rank,
                           p.scale);
    case BlockScore::kGate:
      return p.scale * summary.Dot(p.projected + token * p.layout.head_dim, p.layout.gate);
  }
  return 0;
}

}  // namespace

int64_t BlockLogitsScratchFloats(const SummaryLayout& layout) {
  return layout.index_rank * kTokens;
}

void BlockLogitsReference(const BlockScoreParams& p) {
  for (int64_t b = p.begin; b < p.end; ++b) {
    const Summary summary(p.layout, p.summaries.of(p.block_table[b], p.kv_head));
    for (int64_t t = 0; t < p.tokens; ++t) {
      for (int64_t h = 0; h < p.group; ++h) {
        p.logits[(t * p.group + h) * p.logit_stride + b - p.begin] =
            static_cast<float>(Logit(p, summary, t, h));
      }
    }
  }
}

void BlockLogits(const BlockScoreParams& params, float* scratch) {
  if (HasAvx2() && params.layout.head_dim % 8 == 0) {
    BlockLogitsAvx2(params, scratch);
  } else {
    BlockLogitsReference(params);
  }
}

void AddProbabilitiesReference(const float* logits, int64_t rows, int64_t stride, int64_t count,
                               float* scores) {
  for (int64_t r = 0; r < rows; ++r, logits += stride) {
    const double max = *std::max_element(logits, logits + count);
    double total = 0;
    for (int64_t b = 0; b < count; ++b) total += std::exp(logits[b] - max);
    for (int64_t b = 0; b < count; ++b) {
      scores[b] = static_cast<float>(scores[b] + std::exp(logits[b] - max) / total);
    }
  }
}

void AddProbabilities(float* logits, int64_t rows, int64_t stride, int64_t count, float* scores) {
  if (HasAvx2()) {
    AddProbabilitiesAvx2(logits, rows, stride, count, scores);
  } else {
    AddProbabilitiesReference(logits, rows, stride, count, scores);
  }
}

void SelectLargest(const float* scores, int64_t count, int64_t selected, int32_t* order) {
  std::iota(order, order + count, 0);
  const auto key = [scores](int32_t i) {
    return std::isnan(scores[i]) ? -std::numeric_limits<float>::infinity() : scores[i];
  };
  if (selected < count) {
    std::nth_element(order, order + selected, order + count, [&key](int32_t a, int32_t b) {
      const float x = key(a), y = key(b);
      return x > y || (x == y && a < b);
    });
  }
  std::sort(order, order + selected);
}

}  // namespace sieve
