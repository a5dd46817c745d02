#ifndef SIEVE_SERVER_REFUSED_REQUEST_H_
#define SIEVE_SERVER_REFUSED_REQUEST_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace sieve {

// A request that was refused before the engine took it. What is not known by then is empty; views
// are valid during the call that hands it over.
struct RefusedRequest {
  const absl::Status& status;
  absl::string_view request_id{};  // as sent, of any length
  absl::string_view tenant{};
  absl::string_view traceparent{};  // as in GenerationRequest
};

}  // namespace sieve

#endif  // SIEVE_SERVER_REFUSED_REQUEST_H_
