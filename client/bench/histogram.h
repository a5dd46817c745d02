#ifndef SIEVE_CLIENT_BENCH_HISTOGRAM_H_
#define SIEVE_CLIENT_BENCH_HISTOGRAM_H_

#include <cstdint>
#include <vector>

namespace sieve {

// Counts of values in buckets whose width grows with the value (the layout of Tene's HdrHistogram):
// values below 2048 are kept exactly, others in buckets at most 1/1024 of the value wide. Memory
// does not grow with the number of values: 200 KB for nanoseconds up to a second.
class Histogram {
 public:
  // Negative values count as 0.
  void Add(int64_t value);

  int64_t count() const { return count_; }
  // Exact; 0 when empty.
  int64_t max() const { return max_; }
  double mean() const;
  // The least value that at least `percent` of the values do not exceed (nearest rank); never less
  // than the true one and at most 1/1024 more. `percent` in (0, 100]; 0 when empty.
  int64_t Percentile(double percent) const;

 private:
  std::vector<int64_t> buckets_;  // up to the highest that is not empty
  int64_t count_ = 0;
  int64_t max_ = 0;
  double sum_ = 0;
};

}  // namespace sieve

#endif  // SIEVE_CLIENT_BENCH_HISTOGRAM_H_
