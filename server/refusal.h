#ifndef SIEVE_SERVER_REFUSAL_H_
#define SIEVE_SERVER_REFUSAL_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace sieve {

// Why a request was not admitted: `reason` of google.rpc.ErrorInfo and label of
// sieve_admission_rejections_total.
enum class RefusalReason {
  kInvalid,          // INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION
  kUnauthenticated,  // no API key, or one that is not known
  kQueueFull,        // requests
  kQueuedTokens,     // prompt tokens in the queue
  kTooLarge,         // never fits the cache, or the bytes a request may have
  kLate,             // could not meet its deadline
  kDraining,         // the server is about to stop
  kLoading,          // the server is about to start
  kCancelled,        // the client gave up before its request was read
};

// "invalid", "unauthenticated", "queue_full", "queued_tokens", "too_large", "late", "draining",
// "loading", "cancelled".
absl::string_view NameOf(RefusalReason reason);
inline constexpr int kNumRefusalReasons = 9;

// `status` (not OK) with google.rpc.ErrorInfo and, for a finite `retry_after`, google.rpc.RetryInfo
// as payloads, keyed by type URL; ToGrpcStatus sends them.
absl::Status Refusal(absl::Status status, RefusalReason reason,
                     absl::Duration retry_after = absl::InfiniteDuration());

// The reason of a Refusal, else the one that the code suggests.
RefusalReason ReasonOf(const absl::Status& status);

// When to try again; infinite when the status does not say.
absl::Duration RetryAfter(const absl::Status& status);

// INVALID_ARGUMENT with google.rpc.BadRequest, one violation for each field. The message tells the
// first few of them.
struct FieldViolation {
  std::string field;        // by its path: "sampling.top_p", "stop.stop_texts[3]"
  std::string description;  // "sampling.top_p is 2; expected a number in (0, 1]"
};
absl::Status BadRequest(const std::vector<FieldViolation>& violations);

// The fields of a BadRequest; empty for other statuses.
std::vector<FieldViolation> ViolationsOf(const absl::Status& status);

}  // namespace sieve

#endif  // SIEVE_SERVER_REFUSAL_H_
