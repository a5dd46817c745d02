#include "server/status_mapping.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "google/rpc/errors.pb.h"
#include "server/refusal.h"

namespace sieve {

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status details;
  status.ForEachPayload([&](absl::string_view type_url, const absl::Cord& payload) {
    google::protobuf::Any* detail = details.add_details();
    detail->set_type_url(std::string(type_url));
    detail->set_value(std::string(payload));
  });
  const auto code = static_cast<grpc::StatusCode>(status.code());
  std::string message(status.message());
  if (details.details().empty()) return grpc::Status(code, std::move(message));
  details.set_code(code);
  details.set_message(message);
  return grpc::Status(code, std::move(message), details.SerializeAsString());
}

grpc::Status EndOfCall(grpc::ServerContextBase* call, const absl::Status& status) {
  // Whole milliseconds, and never too early.
  const absl::Duration retry_after = absl::Ceil(RetryAfter(status), absl::Milliseconds(1));
  if (retry_after != absl::InfiniteDuration()) {
    call->AddTrailingMetadata("grpc-retry-pushback-ms",
                              absl::StrCat(absl::ToInt64Milliseconds(retry_after)));
  }
  return ToGrpcStatus(status);
}

}  // namespace sieve
