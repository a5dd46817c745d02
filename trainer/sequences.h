#ifndef SIEVE_TRAINER_SEQUENCES_H_
#define SIEVE_TRAINER_SEQUENCES_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace sieve {

// Where sequences of `length` tokens begin: each is cut from one document, so that attention never
// crosses documents. A document's last one ends with it and may overlap the one before; documents
// that are shorter are left out.
std::vector<int64_t> CutSequences(absl::Span<const int64_t> document_ends, int64_t length);

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
