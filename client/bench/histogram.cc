#include "client/bench/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace sieve {
namespace {

constexpr int kBits = 11;
constexpr int64_t kExact = int64_t{1} << kBits;  // values below have a bucket each
constexpr int64_t kHalf = kExact / 2;            // buckets for each further doubling

int64_t BucketOf(int64_t value) {
  if (value < kExact) return value;
  const int shift = std::bit_width(static_cast<uint64_t>(value)) - kBits;
  return kExact + (shift - 1) * kHalf + (value >> shift) - kHalf;
}

// The highest value of a bucket.
int64_t HighestOf(int64_t bucket) {
  if (bucket < kExact) return bucket;
  const int64_t shift = (bucket - kExact) / kHalf + 1;
  const int64_t mantissa = (bucket - kExact) % kHalf + kHalf;
  return static_cast<int64_t>((static_cast<uint64_t>(mantissa + 1) << shift) - 1);
}

}  // namespace

void Histogram::Add(int64_t value) {
  value = std::max<int64_t>(value, 0);
  const int64_t bucket = BucketOf(value);
  if (bucket >= static_cast<int64_t>(buckets_.size())) buckets_.resize(bucket + 1);
  ++buckets_[bucket];
  ++count_;
  max_ = std::max(max_, value);
  sum_ += static_cast<double>(value);
}

double Histogram::mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }

int64_t Histogram::Percentile(double percent) const {
  // A hair less, so that a rank which is whole but for rounding stays what it is.
  const double exact = percent / 100 * static_cast<double>(count_) - 1e-6;
  const int64_t rank = std::clamp<int64_t>(static_cast<int64_t>(std::ceil(exact)), 1, count_ + 1);
  int64_t seen = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen >= rank) return std::min(HighestOf(static_cast<int64_t>(i)), max_);
  }
  return max_;
}

}  // namespace sieve
