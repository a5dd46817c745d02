#include "trainer/sequences.h"

#include <numeric>
#include <random>
#include <utility>

namespace sieve {

std::vector<int64_t> CutSequences(absl::Span<const int64_t> document_ends, int64_t length) {
  std::vector<int64_t> begins;
  int64_t document = 0;
  for (const int64_t end : document_ends) {
    int64_t begin = document;
    for (; begin + length <= end; begin += length) begins.push_back(begin);
    if (begin > document && begin < end) begins.push_back(end - length);
    document = end;
  }
  return begins;
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
