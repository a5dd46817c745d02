#include "trainer/eval/text_statistics.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

namespace sieve {
namespace {

constexpr int64_t kMaxOrder = 4;

using Ngram = std::vector<int32_t>;
using Counts = std::map<Ngram, int64_t>;

int64_t CountNgrams(absl::Span<const int32_t> tokens, int64_t n) {
  return std::max<int64_t>(0, static_cast<int64_t>(tokens.size()) - n + 1);
}

Counts NgramCounts(absl::Span<const int32_t> tokens, int64_t n) {
  Counts counts;
  for (int64_t i = 0; i < CountNgrams(tokens, n); ++i) {
    ++counts[Ngram(tokens.begin() + i, tokens.begin() + i + n)];
  }
  return counts;
}

// Of a text's n-grams, those that another text has too, each at most as often as there.
double Matches(const std::vector<Counts>& counts, size_t text) {
  int64_t matches = 0;
  for (const auto& [ngram, count] : counts[text]) {
    int64_t most = 0;
    for (size_t other = 0; other < counts.size(); ++other) {
      if (other == text) continue;
      const auto found = counts[other].find(ngram);
      if (found != counts[other].end()) most = std::max(most, found->second);
    }
    matches += std::min(count, most);
  }
  return static_cast<double>(matches);
}

// BLEU's factor for a text shorter than the reference that is nearest in length, the shorter one
// among equals.
double BrevityPenalty(absl::Span<const std::vector<int32_t>> texts, size_t text) {
  const int64_t length = static_cast<int64_t>(texts[text].size());
  int64_t nearest = -1;
  for (size_t other = 0; other < texts.size(); ++other) {
    const int64_t size = static_cast<int64_t>(texts[other].size());
    const int64_t gap = std::abs(size - length), least = std::abs(nearest - length);
    if (other != text && (nearest < 0 || gap < least || (gap == least && size < nearest))) {
      nearest = size;
    }
  }
  if (length >= nearest) return 1;
  return std::exp(1 - static_cast<double>(nearest) / static_cast<double>(length));
}

}  // namespace

double DistinctNgrams(absl::Span<const int32_t> tokens, int64_t n) {
  const int64_t count = CountNgrams(tokens, n);
  if (count == 0) return 1;
  return static_cast<double>(NgramCounts(tokens, n).size()) / static_cast<double>(count);
}

std::vector<double> SelfBleu(absl::Span<const std::vector<int32_t>> texts) {
  std::vector<double> bleu(texts.size(), 0);
  if (texts.size() < 2) return bleu;
  std::vector<double> log_sums(texts.size(), 0), orders(texts.size(), 0);
  for (int64_t n = 1; n <= kMaxOrder; ++n) {
    std::vector<Counts> counts;
    for (const std::vector<int32_t>& text : texts) counts.push_back(NgramCounts(text, n));
    for (size_t i = 0; i < texts.size(); ++i) {
      const int64_t ngrams = CountNgrams(texts[i], n);
      if (ngrams == 0) continue;
      const double matches = Matches(counts, i);
      log_sums[i] += std::log((matches > 0 ? matches : 0.1) / static_cast<double>(ngrams));
      orders[i] += 1;
    }
  }
  for (size_t i = 0; i < texts.size(); ++i) {
    if (orders[i] > 0) bleu[i] = BrevityPenalty(texts, i) * std::exp(log_sums[i] / orders[i]);
  }
  return bleu;
}

int64_t CommonPrefix(absl::Span<const int32_t> a, absl::Span<const int32_t> b) {
  const size_t shorter = std::min(a.size(), b.size());
  return std::mismatch(a.begin(), a.begin() + shorter, b.begin()).first - a.begin();
}

}  // namespace sieve
