#ifndef SIEVE_TRAINER_SEQUENCES_H_
#define SIEVE_TRAINER_SEQUENCES_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace sieve {

// Tokens of one document, [begin, begin + length). Attention never crosses it: it is a row of a
// batch, whose positions count from 0.
struct Sequence {
  int64_t begin = 0;
  int64_t length = 0;
};

// What counts as one sequence of a step: a sequence of the run's length, or shorter documents,
// the longest first, that together take no more room when each is padded to the longest.
using Pack = std::vector<Sequence>;

// Long documents are cut: the last part ends with its document and may overlap the one before.
// Those that are shorter than `length` are packed by size, so that little is padding; those shorter
// than `shortest` are left out. All documents' packs of one come first, in their order.
// REQUIRES: 0 < length.
std::vector<Pack> PackDocuments(absl::Span<const int64_t> document_ends, int64_t length,
                                int64_t shortest);

// The packs of a step as batches: packs of one sequence of `length` become rows of one batch, each
// other is a batch of its own, so that no row is padded to the length of another pack's.
std::vector<Pack> BatchesOf(absl::Span<const Pack> packs, int64_t length);

int64_t TokensOf(absl::Span<const Sequence> sequences);

// Sequence number `index` of an endless run over `count` sequences, each epoch in an order of its
// own that depends on the seed and the epoch alone.
class SequenceOrder {
 public:
  // REQUIRES: count > 0.
  SequenceOrder(int64_t count, uint64_t seed) : count_(count), seed_(seed) {}
  int64_t At(int64_t index);

 private:
  const int64_t count_;
  const uint64_t seed_;
  int64_t epoch_ = -1;
  std::vector<int64_t> order_;  // of that epoch
};

}  // namespace sieve

#endif  // SIEVE_TRAINER_SEQUENCES_H_
