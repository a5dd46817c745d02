#ifndef SIEVE_MODEL_CACHE_PREFIX_HASH_H_
#define SIEVE_MODEL_CACHE_PREFIX_HASH_H_

#include <cstdint>
#include <utility>

#include "absl/types/span.h"

namespace sieve {

// 128 bits that stand for a page's tokens and all tokens before them.
struct PrefixHash {
  uint64_t low = 0;
  uint64_t high = 0;

  friend bool operator==(const PrefixHash& a, const PrefixHash& b) {
    return a.low == b.low && a.high == b.high;
  }
  template <typename H>
  friend H AbslHashValue(H state, const PrefixHash& hash) {
    return H::combine(std::move(state), hash.low, hash.high);
  }
};

// The hash of a page from the hash of the page before it (a default PrefixHash for the first one).
PrefixHash ChainHash(const PrefixHash& parent, absl::Span<const int32_t> tokens);

}  // namespace sieve

#endif  // SIEVE_MODEL_CACHE_PREFIX_HASH_H_
