#include "server/refusal.h"

#include <optional>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/errors.pb.h"

namespace sieve {
namespace {

constexpr char kTypeUrlPrefix[] = "type.googleapis.com/";
constexpr char kDomain[] = "sieve";

template <typename Message>
std::string TypeUrl() {
  return kTypeUrlPrefix + Message::descriptor()->full_name();
}

template <typename Message>
void SetPayload(const Message& message, absl::Status* status) {
  status->SetPayload(TypeUrl<Message>(), absl::Cord(message.SerializeAsString()));
}

template <typename Message>
std::optional<Message> GetPayload(const absl::Status& status) {
  const auto payload = status.GetPayload(TypeUrl<Message>());
  Message message;
  if (!payload || !message.ParseFromString(std::string(*payload))) return std::nullopt;
  return message;
}

}  // namespace

absl::string_view NameOf(RefusalReason reason) {
  switch (reason) {
    case RefusalReason::kInvalid:
      return "invalid";
    case RefusalReason::kUnauthenticated:
      return "unauthenticated";
    case RefusalReason::kQueueFull:
      return "queue_full";
    case RefusalReason::kQueuedTokens:
      return "queued_tokens";
    case RefusalReason::kTooLarge:
      return "too_large";
    case RefusalReason::kLate:
      return "late";
    case RefusalReason::kDraining:
      return "draining";
    case RefusalReason::kLoading:
      return "loading";
    case RefusalReason::kCancelled:
      return "cancelled";
  }
  return "invalid";
}

absl::Status Refusal(absl::Status status, RefusalReason reason, absl::Duration retry_after) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(NameOf(reason)));
  info.set_domain(kDomain);
  SetPayload(info, &status);
  if (retry_after == absl::InfiniteDuration()) return status;
  google::rpc::RetryInfo retry;
  absl::Duration rest;
  retry.mutable_retry_delay()->set_seconds(
      absl::IDivDuration(retry_after, absl::Seconds(1), &rest));
  retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
  SetPayload(retry, &status);
  return status;
}

RefusalReason ReasonOf(const absl::Status& status) {
  if (const auto info = GetPayload<google::rpc::ErrorInfo>(status)) {
    for (int i = 0; i < kNumRefusalReasons; ++i) {
      const auto reason = static_cast<RefusalReason>(i);
      if (info->reason() == NameOf(reason)) return reason;
    }
  }
  switch (status.code()) {
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return RefusalReason::kUnauthenticated;
    case absl::StatusCode::kResourceExhausted:
      return RefusalReason::kTooLarge;
    case absl::StatusCode::kUnavailable:
      return RefusalReason::kDraining;
    case absl::StatusCode::kDeadlineExceeded:
      return RefusalReason::kLate;
    default:
      return RefusalReason::kInvalid;
  }
}

absl::Duration RetryAfter(const absl::Status& status) {
  const auto retry = GetPayload<google::rpc::RetryInfo>(status);
  if (!retry) return absl::InfiniteDuration();
  return absl::Seconds(retry->retry_delay().seconds()) +
         absl::Nanoseconds(retry->retry_delay().nanos());
}

absl::Status BadRequest(const std::vector<FieldViolation>& violations) {
  // The message stays one that people read, and that fits beside the details in what clients take
  // as metadata (8 KiB by default).
  constexpr size_t kMostInMessage = 4;
  google::rpc::BadRequest details;
  std::string message;
  for (const FieldViolation& violation : violations) {
    if (details.field_violations_size() < kMostInMessage) {
      message += (message.empty() ? "" : "; ") + violation.description;
    }
    google::rpc::BadRequest::FieldViolation* out = details.add_field_violations();
    out->set_field(violation.field);
    out->set_description(violation.description);
  }
  if (violations.size() > kMostInMessage) {
    absl::StrAppend(&message, "; and ", violations.size() - kMostInMessage, " more");
  }
  absl::Status status = absl::InvalidArgumentError(message);
  SetPayload(details, &status);
  return status;
}

std::vector<FieldViolation> ViolationsOf(const absl::Status& status) {
  std::vector<FieldViolation> violations;
  if (const auto details = GetPayload<google::rpc::BadRequest>(status)) {
    for (const auto& violation : details->field_violations()) {
      violations.push_back({violation.field(), violation.description()});
    }
  }
  return violations;
}

}  // namespace sieve
