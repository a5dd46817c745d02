#include "model/cache/prefix_hash.h"

namespace sieve {
namespace {

// The finaliser of MurmurHash3: every input bit reaches every output bit.
uint64_t Mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdULL;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ULL;
  return x ^ (x >> 33);
}

}  // namespace

PrefixHash ChainHash(const PrefixHash& parent, absl::Span<const int32_t> tokens) {
  // Two independent chains; the odd constants keep an all-zero page from being a fixed point.
  PrefixHash hash = {Mix(parent.low + 0x9e3779b97f4a7c15ULL),
                     Mix(parent.high + 0xd1b54a32d192ed03ULL)};
  for (const int32_t token : tokens) {
    const uint64_t value = static_cast<uint32_t>(token);
    hash.low = Mix(hash.low ^ (value * 0x9e3779b97f4a7c15ULL + 1));
    hash.high = Mix(hash.high + (value * 0xd1b54a32d192ed03ULL ^ 0x2545f4914f6cdd1dULL));
  }
  return hash;
}

}  // namespace sieve
