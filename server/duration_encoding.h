#ifndef SIEVE_SERVER_DURATION_ENCODING_H_
#define SIEVE_SERVER_DURATION_ENCODING_H_

#include <cstdint>

#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"

namespace sieve {

// Replaces `out`. REQUIRES: `duration` is finite.
inline void EncodeDuration(absl::Duration duration, google::protobuf::Duration* out) {
  absl::Duration rest;
  out->set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &rest));
  out->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
}

}  // namespace sieve

#endif  // SIEVE_SERVER_DURATION_ENCODING_H_
