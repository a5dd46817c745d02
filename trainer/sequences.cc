#include "trainer/sequences.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

namespace sieve {

std::vector<Pack> PackDocuments(absl::Span<const int64_t> document_ends, int64_t length,
                                int64_t shortest) {
  std::vector<Pack> packs;
  std::vector<Sequence> shorter;
  int64_t document = 0;
  for (const int64_t end : document_ends) {
    int64_t begin = document;
    for (; begin + length <= end; begin += length) packs.push_back({{begin, length}});
    if (begin > document && begin < end) packs.push_back({{end - length, length}});
    const int64_t size = end - document;
    if (size < length && size >= shortest) shorter.push_back({document, size});
    document = end;
  }
  std::stable_sort(shorter.begin(), shorter.end(),
                   [](const Sequence& a, const Sequence& b) { return a.length > b.length; });
  for (size_t first = 0, count; first < shorter.size(); first += count) {
    count = std::min<size_t>(length / shorter[first].length, shorter.size() - first);
    packs.emplace_back(shorter.begin() + first, shorter.begin() + first + count);
  }
  return packs;
}

std::vector<Pack> BatchesOf(absl::Span<const Pack> packs, int64_t length) {
  std::vector<Pack> batches;
  Pack whole;
  for (const Pack& pack : packs) {
    if (pack.front().length == length) {
      whole.insert(whole.end(), pack.begin(), pack.end());
    } else {
      batches.push_back(pack);
    }
  }
  if (!whole.empty()) batches.push_back(std::move(whole));
  return batches;
}

int64_t TokensOf(absl::Span<const Sequence> sequences) {
  int64_t tokens = 0;
  for (const Sequence& sequence : sequences) tokens += sequence.length;
  return tokens;
}

int64_t SequenceOrder::At(int64_t index) {
  const int64_t epoch = index / count_;
  if (epoch != epoch_) {
    order_.resize(count_);
    std::iota(order_.begin(), order_.end(), 0);
    std::seed_seq seeds = {static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32),
                           static_cast<uint32_t>(epoch)};
    std::mt19937_64 random(seeds);
    // Written out, for std::shuffle may differ between libraries.
    for (int64_t i = count_ - 1; i > 0; --i) {
      std::swap(order_[i], order_[random() % static_cast<uint64_t>(i + 1)]);
    }
    epoch_ = epoch;
  }
  return order_[index % count_];
}

}  // namespace sieve
