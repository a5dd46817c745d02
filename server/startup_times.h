#ifndef SIEVE_SERVER_STARTUP_TIMES_H_
#define SIEVE_SERVER_STARTUP_TIMES_H_

#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace sieve {

// How long the phases of the start took, which follow each other; zero for those still to come.
struct StartupTimes {
  absl::Duration checkpoint{};  // opened and checked
  absl::Duration tokenizer{};   // and the chat format
  absl::Duration model{};       // weights prepared, cache reserved, engine started
  absl::Duration listen{};      // ports opened
};

// Measures phases that follow each other.
class PhaseTimer {
 public:
  // The time since the last call, or since construction.
  absl::Duration Next() {
    const absl::Time now = absl::Now();
    return now - std::exchange(last_, now);
  }

 private:
  absl::Time last_ = absl::Now();
};

}  // namespace sieve

#endif  // SIEVE_SERVER_STARTUP_TIMES_H_
