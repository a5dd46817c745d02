#ifndef SIEVE_SERVER_RATE_ESTIMATOR_H_
#define SIEVE_SERVER_RATE_ESTIMATOR_H_

#include <cmath>
#include <cstdint>

#include "absl/time/time.h"

namespace sieve {

// Events a second of late: counts and times are added up, each losing its weight exponentially with
// the time that is observed after it.
class RateEstimator {
 public:
  // After so much observed time an observation weighs 1/e.
  static constexpr double kMemorySeconds = 10;

  void Observe(int64_t count, absl::Duration time) {
    const double seconds = absl::ToDoubleSeconds(time);
    const double keep = std::exp(-seconds / kMemorySeconds);
    count_ = count_ * keep + count;
    seconds_ = seconds_ * keep + seconds;
  }

  // With `time` since the last observation that brought nothing; 0 before anything took time.
  double rate(absl::Duration time = absl::ZeroDuration()) const {
    const double seconds = seconds_ + absl::ToDoubleSeconds(time);
    return seconds > 0 ? count_ / seconds : 0;
  }

 private:
  double count_ = 0;
  double seconds_ = 0;
};

}  // namespace sieve

#endif  // SIEVE_SERVER_RATE_ESTIMATOR_H_
